"""How many connections a replica takes: fewer than it has descriptors, which its database and its own calls need too.

A server that takes connections until there is no descriptor left cannot finish what it has accepted, and can tell
nobody. Here those beyond the limit are told, and a connection that never asks anything is not kept for ever.
"""

import asyncio
import json
import os
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import structlog
from prometheus_client import CollectorRegistry, Counter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

OWN_DESCRIPTORS = 300
"""What a replica keeps for itself: its calls to others (200 at most), its database, the broker, traces."""

FIRST_REQUEST_SECONDS = 30.0
"""How long a new connection may take until its first request has come with all its headers."""

_TURNED_AWAY_AT_ONCE = 32
"""Connections that are told why; those beyond are cut without a word."""
_ASK_SECONDS = 1.0
_TELL_AGAIN_SECONDS = 10.0

log = structlog.get_logger()


def _refusal() -> bytes:
    body = json.dumps(
        {"type": "/problems/too-many-connections", "title": "Too many connections", "status": 503}
    ).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n"
        f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_REFUSAL = _refusal()


class Door:
    """Decides how many connections are let in.

    limit: the descriptors that the process may have; asked each time, because it may be changed while it runs
    monotonic: time, replaced in tests
    """

    def __init__(
        self,
        metrics: CollectorRegistry | None = None,
        *,
        limit: Callable[[], int] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit, self._monotonic = limit, monotonic
        self._told_at = -_TELL_AGAIN_SECONDS
        self._refused = Counter(
            "connections_refused_total", "Connections refused, as descriptors would run out", registry=metrics
        )

    def most(self) -> int:
        """Connections at most, at least half of what the system allows."""
        limit = self._limit()
        return limit - min(OWN_DESCRIPTORS, limit // 2) if limit != resource.RLIM_INFINITY else 2**31

    def refuse(self, connections: int) -> None:
        """Count one that is refused, and say so now and then."""
        self._refused.inc()
        if self._monotonic() - self._told_at >= _TELL_AGAIN_SECONDS:
            self._told_at = self._monotonic()
            log.warning("connections refused", open=connections, at_most=self.most(), descriptors=self._limit())

    def protocol(self) -> type[asyncio.Protocol]:
        """What uvicorn is to make for each connection: it calls what it takes for a class."""
        return cast("type[asyncio.Protocol]", partial(GuardedProtocol, door=self))


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, behind a door."""

    def __init__(self, *arguments: Any, door: Door, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._door, self._turned_away = door, False
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        beyond = len(self.connections) - self._door.most()
        if beyond <= 0:
            self._patience = self.loop.call_later(FIRST_REQUEST_SECONDS, transport.close)
            return
        self._door.refuse(len(self.connections) - 1)
        self._turned_away = True
        if beyond > _TURNED_AWAY_AT_ONCE:
            transport.abort()
        else:
            # told when it asks: an answer before the question would be lost with the reset that follows it
            self._patience = self.loop.call_later(_ASK_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        if not self._turned_away:
            super().data_received(data)
        elif not self.transport.is_closing():
            self.transport.write(_REFUSAL)
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._calm()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


async def has_descriptors() -> None:
    """A check for readiness: raise OSError when the process cannot open anything more."""
    os.close(os.dup(0))
