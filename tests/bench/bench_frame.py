"""What the application frame and tracing cost: one in-process request, bare and with each part added.

    python -m tests.bench.bench_frame [ROUNDS]

Run it by `make bench-frame`, which brings OpenTelemetry's own instrumentation of FastAPI to compare with; without that
package its lines are left out. Prints microseconds of processor time, the ratio to the bare route, and the spans of one
request. Figures depend on the machine; the ratios hold better. See docs/adr/0009-one-span-a-request.md.
"""

import asyncio
import contextlib
import importlib.util
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import structlog
from fastapi import FastAPI
from opentelemetry import propagate
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import NoOpTracer, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from starlette.types import Scope

from shared.chassis.admission import Admission, Priorities
from shared.chassis.faults.http import HttpFaults
from shared.chassis.frame import Frame
from shared.chassis.metrics import RequestMetrics
from shared.telemetry import configure_logs, remarks, requests

_REQUESTS = 200
NOWHERE = Path(os.devnull).open("w")  # noqa: SIM115 - open as long as the process
TENTH = ParentBased(TraceIdRatioBased(0.1))


@dataclass(frozen=True, slots=True)
class Case:
    """Which parts an application has. tracing: `frame` is ours, `own` and `operations` are FastAPI's, `contrib` and
    `contrib-one` OpenTelemetry's instrumentation as it comes and told to leave out its spans of receive and send."""

    tracing: str = ""
    sampler: Sampler = ALWAYS_ON
    frame: bool = False
    log: bool = False
    metrics: bool = False


CASES = {
    "bare route": Case(),
    "contrib instrumentation": Case("contrib"),
    "contrib, one span": Case("contrib-one"),
    "FastAPI's own": Case("operations"),
    "FastAPI's own, one span": Case("own"),
    "the same, a tenth": Case("own", TENTH),
    "frame, span": Case("frame", frame=True),
    "frame, span, a tenth": Case("frame", TENTH, frame=True),
    "frame": Case(frame=True),
    "frame, log line": Case(frame=True, log=True),
    "frame, metrics": Case(frame=True, metrics=True),
    "all, a tenth": Case("frame", TENTH, frame=True, log=True, metrics=True),
    "all": Case("frame", frame=True, log=True, metrics=True),
}


class Item(BaseModel):
    """What the route takes and gives."""

    sku: str
    quantity: int


class NoMetrics(RequestMetrics):
    """Notes nothing."""

    def note(self, scope: Scope, status: int, seconds: float) -> str:
        """Do nothing."""
        return ""


class Counting(SpanProcessor):
    """Counts recorded spans, and does nothing else with them: exporting is another thread's work."""

    spans = 0

    def on_end(self, span: ReadableSpan) -> None:
        """One more."""
        self.spans += 1


def application(case: Case) -> tuple[FastAPI, Counting, Tracer]:
    """A FastAPI application with one route and the chosen parts around it, and the tracer of its frame."""
    provider, counting = TracerProvider(sampler=case.sampler), Counting()
    provider.add_span_processor(counting)
    app = FastAPI(
        telemetry={
            "tracing": case.tracing in ("own", "operations"),
            "tracer_provider": provider,
            "operation_spans": case.tracing == "operations",
            "metrics": False,
            "logs": False,
        }
    )
    registry = CollectorRegistry()
    if case.frame:
        app.add_middleware(
            Frame,
            admission=Admission(512, registry),
            priorities=Priorities({}),
            metrics=(RequestMetrics if case.metrics else NoMetrics)("bench", registry),
            faults=HttpFaults(Random(1)),
            max_body_bytes=65_536,
            request_seconds=10.0,
        )

    @app.post("/items/{item_id}")
    async def take(item_id: str, item: Item) -> Item:
        return item

    if case.tracing.startswith("contrib"):
        instrument(app, provider, one_span=case.tracing == "contrib-one")
    return app, counting, provider.get_tracer("bench") if case.tracing == "frame" else NoOpTracer()


def instrument(app: FastAPI, provider: TracerProvider, *, one_span: bool) -> None:
    """As OpenTelemetry's documentation says."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    spared = ["receive", "send"] if one_span else []
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, exclude_spans=spared)


async def request(app: FastAPI) -> None:
    """One POST of a small body."""
    body = b'{"sku": "lamp", "quantity": 2}'
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/items/42",
        "raw_path": b"/items/42",
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    statuses = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    if statuses != [200]:
        raise SystemExit(f"answered {statuses}")


async def seconds_each(app: FastAPI, number: int) -> float:
    """The processor time of one request, over that many."""
    started = time.process_time()
    for _ in range(number):
        await request(app)
    return (time.process_time() - started) / number


def main(rounds: int) -> None:
    """Measure each case in turn, many times: the best of each was the least disturbed."""
    propagate.set_global_textmap(TraceContextTextMapPropagator())  # as in a service
    has_contrib = importlib.util.find_spec("opentelemetry.instrumentation") is not None
    cases = {name: case for name, case in CASES.items() if has_contrib or not case.tracing.startswith("contrib")}
    made = {name: application(case) for name, case in cases.items()}
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(rounds):
        for name, case in cases.items():
            remarks.log = logger(logging.INFO if case.log else logging.ERROR)
            requests.tracer = made[name][2]
            best[name] = min(best[name], asyncio.run(seconds_each(made[name][0], _REQUESTS)))
    sys.stdout.write(f"{'':24} {'us':>7} {'ratio':>6} {'spans':>6}\n")
    for name, seconds in best.items():
        spans = made[name][1].spans / (rounds * _REQUESTS)
        sys.stdout.write(f"{name:24} {seconds * 1e6:7.1f} x{seconds / best['bare route']:5.2f} {spans:6.1f}\n")
    if not has_contrib:
        sys.stdout.write("without OpenTelemetry's instrumentation: make bench-frame\n")


def logger(level: int) -> Any:
    """A logger as services have it, whose lines nobody reads."""
    with contextlib.redirect_stdout(NOWHERE):
        configure_logs("bench", "bench-1", logging.getLevelName(level))
        return structlog.get_logger().bind()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
