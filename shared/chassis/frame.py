"""The ASGI frame around every request: admission, size and time limits, the deadline, span, log line, metrics."""

import logging
import re
import time
from collections.abc import Collection, Mapping

import orjson
from opentelemetry import trace
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.chassis.admission import Admission, Priorities, Priority
from shared.chassis.faults.http import HttpFaults
from shared.chassis.metrics import NO_ROUTE, RequestMetrics
from shared.chassis.problems import Problem, invalid, trace_id
from shared.resilience import DeadlineExceeded
from shared.resilience.asgi import WithinDeadline
from shared.telemetry import record_error
from shared.telemetry.remarks import RequestLine, request_line
from shared.telemetry.requests import RequestSpan

_TRACE_HEADER = b"x-trace-id"
_LOGGED_PATH = 200
_GZIP = b"\x1f\x8b"
"""How compressed bodies begin, and JSON cannot: they are for routes that unpack them."""
_EXPERIMENT = re.compile(rb"[A-Za-z0-9_.:/-]{1,64}")
_CLOSE = {"Connection": "close"}


class Frame:
    """Middleware: what every request passes before and after the routes.

    unchecked: paths whose routes read their JSON themselves, as strictly as the frame would
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        admission: Admission,
        priorities: Priorities,
        metrics: RequestMetrics,
        faults: HttpFaults,
        max_body_bytes: int,
        request_seconds: float,
        unchecked: Collection[str] = (),
    ) -> None:
        self._app, self._admission, self._priorities, self._metrics = app, admission, priorities, metrics
        self._limited = WithinDeadline(app, longest=request_seconds)
        self._faults, self._struck = faults, WithinDeadline(faults.around(app), longest=request_seconds)
        self._max_body, self._unchecked = max_body_bytes, frozenset(unchecked)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        priority = self._priorities.of(scope["method"], scope["path"], headers)
        is_json = b"json" in headers.get(b"content-type", b"") and scope["path"] not in self._unchecked
        exchange = _Exchange(scope, receive, send, self._max_body, is_json=is_json)
        if priority is Priority.HEALTH:
            await self._within_limits(exchange, headers)
            if exchange.defect:
                exchange.write(RequestLine())
            return
        with RequestSpan(scope, headers) as span, request_line() as line:
            try:
                await self._admitted(exchange, headers, priority)
            finally:
                self._note(exchange, priority, line, span)

    async def _admitted(self, exchange: "_Exchange", headers: Mapping[bytes, bytes], priority: Priority) -> None:
        refusal = self._admission.refusal(priority)
        if refusal is not None:
            await exchange.refuse(_overloaded(refusal))
            return
        self._admission.enter()
        _name_experiment(headers)
        try:
            await self._within_limits(exchange, headers)
        finally:
            self._admission.leave()

    async def _within_limits(self, exchange: "_Exchange", headers: Mapping[bytes, bytes]) -> None:
        try:
            exchange.check_declared_size(headers)
            limited = self._struck if self._faults.active else self._limited
            await limited(exchange.scope, exchange.receive, exchange.send)
        except Exception as error:  # noqa: BLE001 - the last place where an error can still become an answer
            cause = _only(error)
            if isinstance(cause, DeadlineExceeded):
                await exchange.refuse(_late(waiting_for_body=exchange.waiting_for_body))
            else:
                await exchange.answer(cause)

    def _note(self, exchange: "_Exchange", priority: Priority, line: RequestLine, span: RequestSpan) -> None:
        seconds = time.perf_counter() - exchange.started
        route = self._metrics.note(exchange.scope, exchange.status, seconds)
        span.answered(exchange.status, "" if route == NO_ROUTE else route, exchange.defect)
        exchange.write(line, route=route, ms=round(seconds * 1000, 1), priority=priority.name.lower())


def _name_experiment(headers: Mapping[bytes, bytes]) -> None:
    # so that what an experiment's own load met can be found among the traces
    experiment = headers.get(b"x-experiment-id")
    if experiment and _EXPERIMENT.fullmatch(experiment):
        trace.get_current_span().set_attribute("experiment.id", experiment.decode())


class _Exchange:
    """One request and its answer, as far as the frame looks at them."""

    __slots__ = (
        *("_arrived", "_is_json", "_json", "_max_body", "_receive", "_received", "_send", "_waiting"),
        *("defect", "scope", "started", "status"),
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body: int, *, is_json: bool) -> None:
        self.scope, self._receive, self._send, self._max_body = scope, receive, send, max_body
        self.started = time.perf_counter()
        self.status = 0
        self.defect: Exception | None = None
        self._received = 0
        self._is_json, self._json = is_json, b""
        self._arrived = self._waiting = False

    @property
    def waiting_for_body(self) -> bool:
        """The request was being read, and not all of it had come, when it was last looked at."""
        return self._waiting and not self._arrived

    def check_declared_size(self, headers: Mapping[bytes, bytes]) -> None:
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared[:20]) > self._max_body:
            raise self._too_large()

    async def receive(self) -> Message:
        self._waiting = True
        message = await self._receive()
        self._waiting = False
        if message["type"] == "http.request":
            body = message.get("body", b"")
            self._received += len(body)
            if self._received > self._max_body:
                raise self._too_large()
            self._arrived = not message.get("more_body", False)
            if self._is_json:
                self._json = self._json + body if self._json else body
                if self._arrived and self._json and not self._json.startswith(_GZIP):
                    _check_json(self._json)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (_TRACE_HEADER, trace_id().encode())]
        await self._send(message)

    def write(self, line: RequestLine, **fields: object) -> None:
        """Write the log line of the request."""
        level = logging.INFO if 0 < self.status < 500 else logging.WARNING
        if self.defect:
            level, fields["exc_info"] = logging.ERROR, self.defect
        # no status: given up before anything was answered
        method, path = self.scope["method"], self.scope["path"][:_LOGGED_PATH]
        line.write("request", level, method=method, path=path, status=self.status or None, **fields)

    async def refuse(self, problem: Problem) -> None:
        await self._respond(problem.response(self.scope["path"]))

    async def answer(self, error: Exception) -> None:
        """Answer an error that no route has: by the application's handler for it, else as a defect."""
        handlers = self.scope["app"].exception_handlers
        for kind in type(error).__mro__:
            if kind in handlers:
                await self._respond(await handlers[kind](Request(self.scope, self.receive), error))
                return
        record_error(trace.get_current_span(), error)
        self.defect = error
        await self.refuse(Problem(500, "internal-error", "A defect of ours"))

    async def _respond(self, response: Response) -> None:
        if not self.status:  # else the answer is under way: the server can only cut the connection, and does
            await response(self.scope, self.receive, self.send)

    def _too_large(self) -> Problem:
        return Problem(
            413, "body-too-large", "Body too large", f"at most {self._max_body} bytes are taken", headers=_CLOSE
        )


def _check_json(body: bytes) -> None:
    # the framework's parser takes NaN, half surrogate pairs and other encodings, which fail later as a defect of ours
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid("body", f"not valid JSON: {error}") from None


def _only(error: Exception) -> Exception:
    """What a group of errors says, when it says one thing: concurrent tasks wrap even a single error."""
    while isinstance(error, ExceptionGroup):
        answers = [inner for inner in error.exceptions if isinstance(inner, HTTPException | ExceptionGroup)]
        if len(error.exceptions) > 1 and len(answers) < len(error.exceptions):
            return error
        error = error.exceptions[0]
    return error


def _overloaded(reason: str) -> Problem:
    return Problem(503, "overloaded", "Too much load", "try again shortly", headers={"Retry-After": "1"}, reason=reason)


def _late(*, waiting_for_body: bool) -> Problem:
    if waiting_for_body:
        detail = "the request did not arrive in time"
        return Problem(408, "request-timeout", "Request too slow", detail, headers=_CLOSE)
    return Problem(504, "deadline-exceeded", "Out of time", "the time limit of the request has passed")
