"""Deadlines on the server's side: work ends when its caller has stopped waiting. Pure ASGI, for any framework.

    app = DeadlineMiddleware(app, longest=10.0)

Inside, `remaining()` tells how long the caller still waits, and pipelines give no attempt more than that.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.deadline import DEADLINE_HEADER, deadline, parse_deadline
from shared.resilience.errors import DeadlineExceeded
from shared.resilience.pipeline import Pipeline

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADER = DEADLINE_HEADER.encode()


class WithinDeadline:
    """`app`, held to the `x-deadline-ms` of each request, or to `longest` seconds where that is shorter or absent.

    For a framework that answers in its own way; DeadlineExceeded: the time is over, and `app` has been cancelled.
    """

    def __init__(self, app: App, *, longest: float, clock: Clock = SYSTEM_CLOCK) -> None:
        self._app = app
        self._clock = clock
        self._pipeline = Pipeline("request", deadline=longest, clock=clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request. Anything else (a web socket, the lifespan) has no deadline."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = _offered(scope["headers"])
        if offered is None:
            await self._pipeline.call(self._app, scope, receive, send)
            return
        with deadline(offered, clock=self._clock):
            await self._pipeline.call(self._app, scope, receive, send)


class DeadlineMiddleware:
    """As `WithinDeadline`; a request whose time is over is answered 504 (RFC 9457).

    When the answer has begun already, DeadlineExceeded is raised, so that the server cuts the connection: an answer
    that just ended would be taken for a whole one.
    """

    def __init__(self, app: App, *, longest: float = 10.0, clock: Clock = SYSTEM_CLOCK) -> None:
        self._inner = WithinDeadline(app, longest=longest, clock=clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._inner(scope, receive, watched)
        except DeadlineExceeded:
            if begun or scope["type"] != "http":
                raise
            await _answer_late(scope, send)


def _offered(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """The shortest of the deadlines that the request carries; one that cannot be read counts for nothing."""
    found = [parse_deadline(value.decode("latin-1")) for name, value in headers if name == _HEADER]
    return min((seconds for seconds in found if seconds is not None), default=None)


async def _answer_late(scope: Scope, send: Send) -> None:
    problem = {
        "type": "/problems/deadline-exceeded",
        "title": "Out of time",
        "status": 504,
        "detail": "the time limit of the request has passed",
        "instance": scope.get("path", ""),
    }
    body = json.dumps(problem).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 504, "headers": headers})
    await send({"type": "http.response.body", "body": body})
