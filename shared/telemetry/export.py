"""Sends finished spans to an OTLP/HTTP receiver from a thread of its own: no request waits for it or fails by it.

What ends goes into a bounded queue. When the receiver is away the queue fills, the newest spans are dropped and
counted, and the thread asks again, ever more rarely, up to every ten seconds; a receiver that is back gets what waited.
"""

import http.client
import ipaddress
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import NamedTuple
from urllib.parse import urlsplit

import structlog
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from prometheus_client import CollectorRegistry, Counter, Gauge

from shared.telemetry.otlp import encode

_INTERVAL_SECONDS = 1.0
_REQUEST_SECONDS = 3.0
_FIRST_WAIT, _MAX_WAIT = 1.0, 10.0
_LAST_EXPORT_SECONDS = 0.8
_TRY_AGAIN = frozenset((408, 429, 500, 502, 503, 504))

log = structlog.get_logger()


class Destination(NamedTuple):
    """Where spans go: an address without its path, the path, and headers (the token is one)."""

    address: str
    path: str
    headers: Mapping[str, str]


def destination(endpoint: str, headers: Mapping[str, str]) -> Destination:
    """From `OTEL_EXPORTER_OTLP_ENDPOINT`. Raises ValueError for what is no http address.

    Plain HTTP only, as between services: encryption is the mesh's.
    """
    parts = urlsplit(endpoint)
    if parts.scheme != "http" or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("must be http://host:port")
    host = f"[{parts.hostname}]" if _is_v6(parts.hostname) else parts.hostname
    return Destination(f"{host}:{parts.port or 4318}", f"{parts.path.rstrip('/')}/v1/traces", headers)


class SpanExport(SpanProcessor):
    """A span processor with a bounded queue.

    max_queue: spans that wait at most; batch: spans of one request. Small, because writing a batch down keeps the
    interpreter's lock.
    """

    def __init__(
        self,
        to: Destination,
        resource: Resource,
        metrics: CollectorRegistry,
        *,
        max_queue: int,
        batch: int = 256,
        interval: float = _INTERVAL_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._to, self._resource, self._monotonic = to, resource, monotonic
        self._max_queue, self._batch, self._interval = max_queue, batch, interval
        self._queue: deque[ReadableSpan] = deque()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._away = False
        self._exported = Counter("otlp_spans_exported_total", "Spans that the receiver took", registry=metrics)
        self._dropped = Counter(
            "otlp_export_dropped_spans_total", "Spans that were not exported", ["reason"], registry=metrics
        )
        self._overflow, self._refused = self._dropped.labels("queue_full"), self._dropped.labels("refused")
        self._lost = self._dropped.labels("shutdown")
        self._failures = Counter(
            "otlp_export_failures_total", "Export requests that failed and are tried again", registry=metrics
        )
        queue = Gauge("otlp_export_queue_spans", "Spans that wait for export", registry=metrics)
        queue.set_function(lambda: len(self._queue))
        self._thread = threading.Thread(target=self._run, name="span-export", daemon=True)
        self._thread.start()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing is done for a span that begins."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span, or count it as dropped. Takes a microsecond, never blocks."""
        context = span.get_span_context()
        if context is None or not context.trace_flags.sampled:
            return
        if self._stopping.is_set():
            self._lost.inc()
            return
        if len(self._queue) >= self._max_queue:
            self._overflow.inc()
            return
        self._queue.append(span)
        if len(self._queue) == self._batch:
            self._wake.set()

    def shutdown(self) -> None:
        """Export what waits, as far as a moment lasts."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(_LAST_EXPORT_SECONDS)
        self._lost.inc(len(self._queue))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Ask for an export now; whether nothing waits any more when the time is up."""
        self._wake.set()
        until = self._monotonic() + timeout_millis / 1000
        while self._queue and self._monotonic() < until:
            time.sleep(0.01)
        return not self._queue

    def _run(self) -> None:
        wait = _FIRST_WAIT
        while True:
            stopping = self._stopping.is_set()
            if self._export_all():
                wait = _FIRST_WAIT
                if not stopping:
                    self._wake.wait(self._interval)
                    self._wake.clear()
            else:
                if not stopping:
                    self._stopping.wait(wait)
                wait = min(wait * 2, _MAX_WAIT)
            if stopping:
                self._hang_up()
                return

    def _export_all(self) -> bool:
        """Whether the receiver took, or refused for good, all that waited at the beginning."""
        left = len(self._queue)
        while left > 0:
            # of a copy: other threads append meanwhile
            spans = list(islice(self._queue.copy(), min(left, self._batch)))
            taken = self._post(encode(self._resource, spans))
            if taken is None:
                self._failures.inc()
                return False
            (self._exported if taken else self._refused).inc(len(spans))
            for _ in spans:
                self._queue.popleft()
            left -= len(spans)
        return True

    def _post(self, body: bytes) -> bool | None:
        """True: taken; False: refused for good; None: to be tried again."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._to.address, timeout=_REQUEST_SECONDS)
            headers = {**self._to.headers, "content-type": "application/json"}
            self._connection.request("POST", self._to.path, body, headers)
            response = self._connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            self._hang_up()
            self._note(away=True, reason=f"{type(error).__name__}: {error}")
            return None
        if response.status in _TRY_AGAIN:
            self._note(away=True, reason=f"HTTP {response.status}")
            return None
        self._note(away=response.status != 200, reason=f"HTTP {response.status}")
        return response.status == 200

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _note(self, *, away: bool, reason: str) -> None:
        # once each way: a receiver that is away must not fill the log
        if away and not self._away:
            log.warning("traces are not taken", receiver=self._to.address, reason=reason)
        elif self._away and not away:
            log.info("traces are taken again", receiver=self._to.address)
        self._away = away


def _is_v6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
