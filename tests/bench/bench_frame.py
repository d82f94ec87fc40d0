"""What the application frame costs: one in-process request, bare and with each part added.

    python -m tests.bench.bench_frame [ROUNDS]

Prints microseconds and the ratio to the bare route. Figures depend on the machine; the ratios hold better.
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import structlog
from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from starlette.types import Scope

from shared.chassis import frame
from shared.chassis.admission import Admission, Priorities
from shared.chassis.faults.http import HttpFaults
from shared.chassis.frame import Frame
from shared.chassis.metrics import RequestMetrics
from shared.telemetry import configure_logs

_REQUESTS = 200
NOWHERE = Path(os.devnull).open("w")  # noqa: SIM115 - open as long as the process


class Item(BaseModel):
    """What the route takes and gives."""

    sku: str
    quantity: int


class NoMetrics(RequestMetrics):
    """Notes nothing."""

    def note(self, scope: Scope, status: int, seconds: float) -> str:
        """Do nothing."""
        return ""


def application(*, telemetry: bool = False, frame: bool = False, metrics: bool = False) -> FastAPI:
    """A FastAPI application with one route and the chosen parts around it."""
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(0.1))) if telemetry else None
    app = FastAPI(
        telemetry={
            "tracing": telemetry,
            "tracer_provider": provider,
            "operation_spans": False,
            "metrics": False,
            "logs": False,
        }
    )
    registry = CollectorRegistry()
    if frame:
        app.add_middleware(
            Frame,
            admission=Admission(512, registry),
            priorities=Priorities({}),
            metrics=(RequestMetrics if metrics else NoMetrics)("bench", registry),
            faults=HttpFaults(Random(1)),
            max_body_bytes=65_536,
            request_seconds=10.0,
        )

    @app.post("/items/{item_id}")
    async def take(item_id: str, item: Item) -> Item:
        return item

    return app


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
    """How long one request takes, over that many."""
    started = time.perf_counter()
    for _ in range(number):
        await request(app)
    return (time.perf_counter() - started) / number


def main(rounds: int) -> None:
    """Measure each combination in turn, many times: the best of each was the least disturbed."""
    cases: dict[str, tuple[int, dict[str, bool]]] = {
        "bare route": (logging.ERROR, {}),
        "telemetry": (logging.ERROR, {"telemetry": True}),
        "frame": (logging.ERROR, {"frame": True}),
        "frame, log line": (logging.INFO, {"frame": True}),
        "frame, metrics": (logging.ERROR, {"frame": True, "metrics": True}),
        "all": (logging.INFO, {"frame": True, "metrics": True, "telemetry": True}),
    }
    applications = {name: application(**parts) for name, (_, parts) in cases.items()}
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(rounds):
        for name, (level, _) in cases.items():
            frame.log = logger(level)
            best[name] = min(best[name], asyncio.run(seconds_each(applications[name], _REQUESTS)))
    for name, seconds in best.items():
        sys.stdout.write(f"{name:16} {seconds * 1e6:7.1f} us  x{seconds / best['bare route']:.2f}\n")


def logger(level: int) -> Any:
    """A logger as services have it, whose lines nobody reads."""
    with contextlib.redirect_stdout(NOWHERE):
        configure_logs("bench", "bench-1", logging.getLevelName(level))
        return structlog.get_logger().bind()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
