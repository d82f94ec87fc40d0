"""Hot reload: a changed configuration file takes effect without a restart.

    watcher = ConfigWatcher(registry)
    asyncio.create_task(watcher.run())

A file that makes no sense is refused and reported; what was in force stays in force.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.config import ResilienceConfig, parse
from shared.resilience.errors import ConfigError
from shared.resilience.events import ConfigApplied, ConfigRefused
from shared.resilience.registry import Registry

logger = logging.getLogger("holdfast.resilience")

# An editor writes in several steps; what has not changed for this long, in seconds, is taken for whole.
_SETTLED_AFTER = 0.1

# Modification time in nanoseconds, size and inode; None: there is no such file.
_Look: TypeAlias = tuple[int, int, int] | None


class ConfigWatcher:
    """Looks at the registry's file now and then, and has the registry use it when it has changed.

    interval: seconds between two looks
    parse:    from text to settings; ConfigError: it makes no sense
    """

    def __init__(
        self,
        registry: Registry,
        *,
        interval: float = 2.0,
        parse: Callable[[str, Path], ResilienceConfig] = parse,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._registry = registry
        self._file = registry.config.file
        self._interval = interval
        self._parse = parse
        self._clock = clock
        self._look: _Look = None
        self._looked = False
        self._digest = b""

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self.check()
            await self._clock.sleep(self._interval)

    async def check(self) -> ConfigApplied | ConfigRefused | None:
        """Look once. None: the file says what is in force already, or what has been refused before."""
        look = await asyncio.to_thread(self._stat)
        if self._looked and look == self._look:
            return None
        look = await self._settled(look)
        self._look, self._looked = look, True
        try:
            config = await asyncio.to_thread(self._read_if_changed)
            applied = None if config is None else self._registry.reload(config)
        except ConfigError as error:
            return self._refused(error)
        if applied is not None:
            _report(applied)
        return applied

    async def _settled(self, look: _Look) -> _Look:
        while True:
            await self._clock.sleep(_SETTLED_AFTER)
            before, look = look, await asyncio.to_thread(self._stat)
            if look == before:
                return look

    def _stat(self) -> _Look:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read_if_changed(self) -> ResilienceConfig | None:
        try:
            content = self._file.read_bytes()
            digest = hashlib.sha256(content).digest()
            if digest == self._digest:
                return None
            self._digest = digest
            text = content.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(self._file, 1, f"cannot be read: {error}") from error
        return self._parse(text, self._file)

    def _refused(self, error: ConfigError) -> ConfigRefused:
        refused = ConfigRefused(str(self._file), self._clock.monotonic(), str(error))
        logger.error(
            "resilience configuration refused, the one before it stays: %s",
            error,
            extra={"file": error.file, "line": error.line, "reason": error.reason},
        )
        self._registry.refuse(refused)
        return refused


def _report(applied: ConfigApplied) -> None:
    logger.info(
        "resilience configuration applied: %s",
        applied.name,
        extra={"changed": list(applied.changed), "added": list(applied.added)},
    )
    if applied.removed:
        logger.warning(
            "no longer in %s, and as they were until a restart: %s", applied.name, ", ".join(applied.removed)
        )
