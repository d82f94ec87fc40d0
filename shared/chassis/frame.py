"""The ASGI frame around every request: admission, size and time limits, the caller's deadline, one log line."""

import asyncio
import re
import time
from collections.abc import Mapping

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.chassis.admission import Admission, Priority
from shared.chassis.problems import Problem, trace_id
from shared.resilience import DEADLINE_HEADER, DeadlineExceeded, deadline, parse_deadline

PRIORITY_HEADER = "x-priority"
TRACE_HEADER = b"x-trace-id"
OPERATIONS = ("/health/", "/metrics", "/info")
"""Paths that are always answered, and not counted as traffic."""

log = structlog.get_logger()


class Priorities:
    """Finds the priority of a request from `"METHOD /path/{template}"` rules; what no rule names is RUNNING."""

    def __init__(self, rules: Mapping[str, Priority]) -> None:
        self._exact: dict[tuple[str, str], Priority] = {}
        self._patterns: list[tuple[str, re.Pattern[str], Priority]] = []
        for rule, priority in rules.items():
            method, path = rule.split(" ", 1)
            if "{" in path:
                self._patterns.append((method, re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), priority))
            else:
                self._exact[method, path] = priority

    def of(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Priority:
        """The priority of a request; a caller may lower it with `x-priority: new`, never raise it."""
        if path.startswith(OPERATIONS):
            return Priority.HEALTH
        if headers.get(PRIORITY_HEADER.encode()) == b"new":
            return Priority.NEW
        exact = self._exact.get((method, path))
        if exact is not None:
            return exact
        matches = (p for m, pattern, p in self._patterns if m == method and pattern.fullmatch(path))
        return next(matches, Priority.RUNNING)


class Frame:
    """Middleware, the outermost but for metrics and tracing."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        admission: Admission,
        priorities: Priorities,
        max_body_bytes: int,
        request_seconds: float,
    ) -> None:
        self._app, self._admission, self._priorities = app, admission, priorities
        self._max_body, self._seconds = max_body_bytes, request_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        priority = self._priorities.of(scope["method"], scope["path"], headers)
        if priority is Priority.HEALTH:
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._max_body)
        refusal = self._admission.refusal(priority)
        if refusal is not None:
            await exchange.refuse(_overloaded(refusal))
            return
        self._admission.enter()
        try:
            await self._within_limits(exchange, headers)
        finally:
            self._admission.leave()
            exchange.log_line(priority)

    async def _within_limits(self, exchange: "_Exchange", headers: Mapping[bytes, bytes]) -> None:
        try:
            exchange.check_declared_size(headers)
            offered = parse_deadline(headers.get(DEADLINE_HEADER.encode(), b"").decode("latin-1"))
            seconds = self._seconds if offered is None else min(self._seconds, offered)
            with deadline(seconds):
                async with asyncio.timeout(seconds):
                    await self._app(exchange.scope, exchange.receive, exchange.send)
        except (TimeoutError, DeadlineExceeded):
            await exchange.refuse(_late(arrived=exchange.arrived))
        except Problem as problem:
            await exchange.refuse(problem)
        except Exception:
            log.exception("request failed", method=exchange.scope["method"], path=exchange.scope["path"])
            await exchange.refuse(Problem(500, "internal-error", "A defect of ours"))


class _Exchange:
    """One request and its answer, as far as the frame looks at them."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body: int) -> None:
        self.scope, self._receive, self._send, self._max_body = scope, receive, send, max_body
        self._started = time.perf_counter()
        self._received = 0
        self.arrived = False
        self.status = 0

    def check_declared_size(self, headers: Mapping[bytes, bytes]) -> None:
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared[:20]) > self._max_body:
            raise self._too_large()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self._max_body:
                raise self._too_large()
            self.arrived = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], (TRACE_HEADER, trace_id().encode())]
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        if self.status:
            return  # the answer is under way: the connection is all that can be ended, and the server does that
        await problem.response(self.scope["path"])(self.scope, self.receive, self.send)

    def log_line(self, priority: Priority) -> None:
        level = log.info if self.status < 500 else log.warning
        level(
            "request",
            method=self.scope["method"],
            path=self.scope["path"],
            route=getattr(self.scope.get("route"), "path", None),
            status=self.status,
            ms=round((time.perf_counter() - self._started) * 1000, 1),
            priority=priority.name.lower(),
        )

    def _too_large(self) -> Problem:
        return Problem(413, "body-too-large", "Body too large", f"at most {self._max_body} bytes are taken")


def _overloaded(reason: str) -> Problem:
    return Problem(503, "overloaded", "Too much load", "try again shortly", headers={"Retry-After": "1"}, reason=reason)


def _late(*, arrived: bool) -> Problem:
    if arrived:
        return Problem(504, "deadline-exceeded", "Out of time", "the time limit of the request has passed")
    return Problem(408, "request-timeout", "Request too slow", "the request did not arrive in time")


def priority_of(request: Request) -> str:
    """The value to send on as `x-priority`."""
    return request.headers.get(PRIORITY_HEADER, "running")
