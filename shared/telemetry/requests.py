"""The span of a request that a service answers, as OpenTelemetry's conventions for HTTP servers have it.

See https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span. It is described when it ends, all at
once: what decides whether it is recorded looks at trace ids alone (docs/adr/0008-sampling.md), and what is not recorded
needs no description.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import Scope

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
"""Methods that are told by their names: a caller may make others up without end."""

_SERVER_ERROR = 500
_PORTS = {"http": 80, "https": 443}
_SIGNATURES = frozenset(("AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"))
_SIGNATURE_PREFIX = "X-Amz-"

tracer = trace.get_tracer("holdfast.http")


class RequestSpan:
    """One request: a span, current inside the block, whose parent is in the request's headers."""

    __slots__ = ("_failure", "_headers", "_route", "_scope", "_span", "_status", "_token")

    def __init__(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        self._scope, self._headers = scope, headers
        self._status, self._route, self._failure = 0, "", ""

    def answered(self, status: int, route: str, defect: BaseException | None) -> None:
        """Say how it ended: the answer's status (0: none), its route's template (empty: none), what went wrong."""
        self._status, self._route = status, route
        if defect is not None:
            self._failure = type(defect).__qualname__

    def __enter__(self) -> Self:
        parent = _parent(self._headers)
        self._span = tracer.start_span(self._scope["method"], parent, kind=SpanKind.SERVER)
        self._token = contexts.attach(trace.set_span_in_context(self._span, parent))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        contexts.detach(self._token)
        span = self._span
        if not span.is_recording():
            return
        if kind is not None:
            self._failure = kind.__qualname__
        attributes = _described(self._scope, self._headers)
        name = attributes["http.request.method"]
        if name == "_OTHER":
            name = "HTTP"
        if self._route:
            attributes["http.route"] = self._route
            name = f"{name} {self._route}"
        if self._status:
            attributes["http.response.status_code"] = self._status
        if self._failure or not self._status or self._status >= _SERVER_ERROR:
            attributes["error.type"] = self._failure or str(self._status or "incomplete_response")
            span.set_status(StatusCode.ERROR)
        span.update_name(name)
        span.set_attributes(attributes)
        span.end()


def _parent(headers: Mapping[bytes, bytes]) -> Context:
    traceparent = headers.get(b"traceparent")
    if traceparent is None:
        return Context()
    carrier = {"traceparent": traceparent.decode("latin-1")}
    tracestate = headers.get(b"tracestate")
    if tracestate is not None:
        carrier["tracestate"] = tracestate.decode("latin-1")
    return propagate.extract(carrier)


def _described(scope: Scope, headers: Mapping[bytes, bytes]) -> dict[str, Any]:
    scheme, method = scope.get("scheme", "http"), scope["method"]
    attributes: dict[str, Any] = {
        "http.request.method": method,
        "url.scheme": scheme,
        "url.path": scope["path"],
        "network.protocol.version": scope.get("http_version", ""),
    }
    if method not in METHODS:
        attributes |= {"http.request.method": "_OTHER", "http.request.method_original": method}
    if scope.get("query_string"):
        attributes["url.query"] = _query(scope["query_string"])
    host = headers.get(b"host")
    if host is not None:
        attributes |= _server(host, scheme)
    elif scope.get("server"):
        attributes["server.address"], port = scope["server"]
        if port is not None:
            attributes["server.port"] = port
    return attributes


@lru_cache(maxsize=64)
def _server(host: bytes, scheme: str) -> Mapping[str, str | int]:
    try:
        url = urlsplit(f"//{host.decode('latin-1')}")
        address, port = url.hostname, url.port or _PORTS.get(scheme)
    except ValueError:
        return {}
    if not address or url.username is not None or url.path or url.query or url.fragment:
        return {}
    return {"server.address": address} if port is None else {"server.address": address, "server.port": port}


def _query(raw: bytes) -> str:
    # the names that the conventions want kept back
    pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True)
    return urlencode(
        [
            (name, "REDACTED" if name in _SIGNATURES or name.startswith(_SIGNATURE_PREFIX) else value)
            for name, value in pairs
        ]
    )
