"""Writes log lines to a file descriptor whose reader may be slow, stuck or gone: the service goes on regardless."""

import os
import select
import threading
from typing import Any

_CHUNK = 4_096  # what a pipe that says it is writable takes without blocking (PIPE_BUF)
_MOST_PENDING = 262_144


class LineOutput:
    """Takes whole lines. What the reader does not fetch is kept, up to 256 KiB, then dropped and counted."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending = bytearray()
        self._dropped = 0
        self._lock = threading.Lock()
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLOUT)

    def write(self, line: bytes) -> None:
        """Write one line without its end; never blocks, never raises for what the reader does."""
        with self._lock:
            if len(self._pending) + len(line) >= _MOST_PENDING:
                self._dropped += 1
            else:
                if self._dropped:
                    self._pending += b'{"level":"warning","event":"log lines dropped","number":%d}\n' % self._dropped
                    self._dropped = 0
                self._pending += line
                self._pending += b"\n"
            self._drain()

    def _drain(self) -> None:
        try:
            while self._pending:
                ready = self._ready.poll(0)
                if not ready or not ready[0][1] & select.POLLOUT:
                    if ready:  # an error or a hang-up: nobody will ever read it
                        self._pending.clear()
                    return
                del self._pending[: os.write(self._descriptor, self._pending[:_CHUNK])]
        except OSError:
            self._pending.clear()


class LineLogger:
    """What structlog calls at the end of its processors, with a rendered line."""

    def __init__(self, output: LineOutput) -> None:
        self.msg = output.write

    def __getattr__(self, _level: str) -> Any:
        return self.msg
