"""Has the broker started again when its disk was full and has room again.

A stream of JetStream that could not be written takes nothing more until its server starts again, however much room
there is meanwhile (seen with nats-server 2.15; `/healthz` then says `write error`). What it has refused waits in the
outboxes. Standard library only, for the reviver's sake.
"""

import contextlib
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from infra.local.control import Control, ControlError

LOOK_EVERY = 5.0
"""Seconds."""

ROOM_BYTES = 4 * 2**20
"""What must fit on the disk again: with less, the next start would be the next stop."""

_PROGRAM = "nats"
_ASK_SECONDS = 1.0
_STUCK = "write error"


class BrokerWatch:
    """Looks at the broker now and then.

    url:   its `/healthz`
    store: the directory of its streams
    """

    def __init__(
        self,
        url: str,
        store: Path,
        control: Control,
        *,
        clock: Callable[[], float] = time.monotonic,
        says: Callable[[str], str] | None = None,
    ) -> None:
        self._url, self._store, self._control = url, store, control
        self._clock, self._says = clock, says or _health
        self._due = clock() + LOOK_EVERY

    def look(self) -> str:
        """Look, when it is time to; returns what was done or could not be, for the log."""
        if self._clock() < self._due:
            return ""
        self._due = self._clock() + LOOK_EVERY
        said = self._says(self._url)
        if _STUCK not in said:
            return ""
        if not has_room(self._store):
            return f"nats: {said}; no room yet"
        try:
            self._control.signal(_PROGRAM, "TERM")  # its end is seen, and it is started again
        except ControlError as error:
            return f"nats: {said}; {error}"
        return f"nats: {said}; there is room, it is started again"


def has_room(directory: Path) -> bool:
    """Whether `ROOM_BYTES` can be written there, which is tried: quotas and limits count, too."""
    block = b"\0" * 2**16
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            while file.tell() < ROOM_BYTES:
                file.write(block)
            os.fsync(file.fileno())
    except OSError:
        return False
    return True


def _health(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_ASK_SECONDS):  # noqa: S310 - an address of this stack
            return ""
    except urllib.error.HTTPError as error:
        with contextlib.closing(error), contextlib.suppress(OSError):
            return error.read(1_000).decode("utf-8", "replace")
    except OSError:
        pass  # it is down, or on its way: that is the policy's
    return ""
