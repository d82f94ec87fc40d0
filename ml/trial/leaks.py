"""A leak that is in the code: every process of a service leaks from its start on, those too that a remedy starts."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import structlog

from ml.campaigns.platform import Platform, PlatformError, ReplicaAway
from ml.features.signals import Scale

log = structlog.get_logger()

MEMORY, POOL = "memory-leak", "pool-leak"
KINDS = (MEMORY, POOL)

_LOOK_SECONDS = 1.0
_BARE_MB = 115
"""What a process holds before anything leaks."""

_CONNECTIONS = 10
"""Of a service's pool."""

_LONGEST_SECONDS = 600.0


@dataclass(slots=True)
class Leak:
    """full: minutes from the start of a process until it has leaked everything."""

    platform: Platform
    service: str
    kind: str
    full: float
    scale: Scale
    _began: dict[str, float] = field(default_factory=dict)

    async def drip(self, minutes: float) -> None:
        """Leak for so long, in whichever processes there are. What has leaked stays until the process ends."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.scale.seconds(minutes)
        while (left := until - loop.time()) > 0:
            await self.look(loop.time(), left)
            await asyncio.sleep(min(_LOOK_SECONDS, left))

    async def look(self, now: float, left: float) -> None:
        """Have every process hold what it should have leaked by `now`, for `left` seconds more."""
        for replica in self.platform.slots(self.service):
            try:
                await self._look_at(replica, now, left)
            except ReplicaAway:
                continue  # not there, or too busy leaking to answer; which of them is seen by its faults
            except PlatformError as error:
                log.warning("a leak did not begin", replica=replica, error=str(error))

    async def _look_at(self, replica: str, now: float, left: float) -> None:
        there = len(await self.platform.faults(replica))
        if not there:
            self._began[replica] = now  # a process that has leaked nothing has just been started
        age = (now - self._began.setdefault(replica, now)) / self.scale.seconds(self.full)
        wanted = 1 if self.kind == MEMORY else max(1, round(_CONNECTIONS * min(1.0, age)))
        seconds = min(_LONGEST_SECONDS, left + self.scale.seconds(1))
        for _ in range(wanted - there):
            await self.platform.inject(replica, self._fault() | {"seconds": round(seconds, 1)})

    def _fault(self) -> dict[str, Any]:
        if self.kind == POOL:
            return {"kind": "pool", "connections": 1}
        most = self.scale.memory_bytes / 2**20
        rate = (most - _BARE_MB) / self.scale.seconds(self.full)
        return {"kind": "memory", "mb_per_second": round(rate, 3), "max_mb": int(most)}
