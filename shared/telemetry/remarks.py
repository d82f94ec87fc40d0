"""One log line a request: what happens while it is served is remarked on that line, and is a line of its own elsewhere.

So a request costs one line whatever happens to it, and nobody has to put lines together to see why it failed.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import structlog

_MOST = 20
"""Remarks on one line; more are counted only."""

log = structlog.get_logger()


class RequestLine:
    """The line that the present request will be: its level so far, and what was remarked."""

    __slots__ = ("left_out", "level", "remarks", "written")

    def __init__(self) -> None:
        self.level = logging.INFO
        self.remarks: list[dict[str, Any]] = []
        self.left_out = 0
        self.written = False

    def write(self, event: str, level: int = logging.INFO, **fields: Any) -> None:
        """Write it. What is remarked later is a line of its own: the request's tasks may outlive it."""
        self.written = True
        if self.remarks:
            fields["remarks"] = self.remarks
        if self.left_out:
            fields["left_out"] = self.left_out
        log.log(max(level, self.level), event, **fields)


_present: ContextVar[RequestLine | None] = ContextVar("request_line", default=None)


@contextmanager
def request_line() -> Iterator[RequestLine]:
    """Gathers the remarks of a request; the caller writes the line."""
    line = RequestLine()
    token = _present.set(line)
    try:
        yield line
    finally:
        _present.reset(token)


def remark(event: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Say that something happened: on the request's line, or where no request is served on one of its own."""
    line = _present.get()
    if line is None or line.written:
        log.log(level, event, **fields)
        return
    line.level = max(line.level, level)
    if len(line.remarks) < _MOST:
        line.remarks.append({"event": event, **fields})
    else:
        line.left_out += 1
