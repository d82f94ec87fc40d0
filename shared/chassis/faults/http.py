"""Requests that come in: delayed, answered in the handler's place, or cut without an answer."""

from collections.abc import Collection
from random import Random
from typing import Any, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from shared.chassis.faults.active import Active, Kind, Refused
from shared.chassis.faults.requests import HttpFault
from shared.chassis.problems import Problem

_SPARED = ("/admin", "/health", "/metrics", "/info")
"""An operator must reach what is broken, and see it."""


class Connection(Protocol):
    """A connection of the server (uvicorn's protocols): the addresses of both ends, and the transport to cut."""

    client: Any
    server: Any
    transport: Any


class HttpFaults(Kind[HttpFault]):
    """`connections` are the server's, live; set by whoever runs one."""

    name = "http"

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self.connections: Collection[Any] = ()

    def check(self, request: HttpFault) -> None:
        """Refuse what would never strike."""
        if _is_spared(request.path):
            raise Refused("health, metrics and /admin are never struck", field="path")

    def around(self, app: ASGIApp) -> ASGIApp:
        """`app`, for the time in which there are faults. Raises `Problem` for an answer in its place."""

        async def struck(scope: Scope, receive: Receive, send: Send) -> None:
            for fault in self.running():
                if not self._strikes(fault, scope):
                    continue
                fault.strike()
                request = fault.request
                if (delay := self._delay(request)) and await fault.pause(delay):
                    continue  # it ended, and with it what it would have done
                if request.abort:
                    await self._cut(scope, receive)
                    return
                if request.status is not None:
                    raise Problem(request.status, "fault-injected", "Fault on purpose", f"by {fault.id}")
            await app(scope, receive, send)

        return struck

    def _strikes(self, fault: Active[HttpFault], scope: Scope) -> bool:
        request, path = fault.request, scope["path"]
        if not path.startswith(request.path) or request.method not in (None, scope["method"]):
            return False
        return not _is_spared(path) and self.draw(request.rate)

    def _delay(self, request: HttpFault) -> float:
        jitter = request.jitter_ms * self._random.random() if request.jitter_ms else 0.0
        return (request.latency_ms + jitter) / 1000

    async def _cut(self, scope: Scope, receive: Receive) -> None:
        ends = (scope.get("client"), scope.get("server"))
        for connection in list(self.connections):
            if (connection.client, connection.server) == ends:
                connection.transport.abort()
                # the server takes a request that ends without an answer for a defect, unless the client has gone
                while (await receive())["type"] != "http.disconnect":
                    pass


def _is_spared(path: str) -> bool:
    return path.startswith(_SPARED)
