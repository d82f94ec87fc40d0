"""A service of ours without resilience and telemetry, the bare path: `python -m tests.bench.bare order`.

The work stays the same, money safety with it: keys, steps written down, tokens, sealed cards, outbox. Gone are every
policy of the pipelines, admission, deadlines and size limits, fault points, spans, request metrics and log lines.
`WITHOUT=telemetry` or `WITHOUT=resilience` leaves the other one in.
"""

import contextlib
import os
import runpy
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from opentelemetry import propagate, trace
from starlette.types import ASGIApp, Receive, Scope, Send

import shared.telemetry
import shared.telemetry.tracing
from shared.chassis import app as chassis_app
from shared.chassis import database, frame
from shared.chassis.metrics import RequestMetrics
from shared.resilience import pipeline

BOTH = "telemetry resilience"


def without_resilience() -> None:
    """Calls go straight through."""

    async def call(
        _self: Any,
        fn: Callable[..., Awaitable[Any]],
        *args: Any,
        idempotent: bool | None = None,
        fallback: Any = None,
        cache_key: Any = None,
        **kwargs: Any,
    ) -> Any:
        return await fn(*args, **kwargs)

    pipeline.Pipeline.call = call  # type: ignore[assignment,method-assign]


def without_telemetry() -> None:
    """Nothing is recorded, counted or timed."""

    @contextlib.contextmanager
    def operation(*_: Any, **__: Any) -> Iterator[trace.Span]:
        yield trace.INVALID_SPAN

    def quiet(*_: Any, **__: Any) -> None:
        """Nothing."""

    shared.telemetry.operation = shared.telemetry.tracing.operation = operation
    shared.telemetry.remark = quiet
    database.trace_statements = quiet
    propagate.inject = quiet
    RequestMetrics.note = lambda *_: ""  # type: ignore[assignment,method-assign]
    frame.RequestSpan = _NoSpan  # type: ignore[misc,assignment]

    from services.order.call_metrics import EdgeMetrics

    EdgeMetrics.timed = lambda _self: contextlib.nullcontext()  # type: ignore[assignment,method-assign]


def without_frame() -> None:
    """Requests go straight to the routes."""
    chassis_app.Frame = _NoFrame  # type: ignore[misc,assignment]


class _NoSpan(contextlib.nullcontext["_NoSpan"]):
    def __init__(self, *_: Any) -> None:
        super().__init__(self)

    def answered(self, *_: Any) -> None:
        """Nothing."""


class _NoFrame:
    def __init__(self, app: ASGIApp, **_: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def main() -> None:
    """Take away what `WITHOUT` names, by default both, and run the service."""
    gone = os.environ.get("WITHOUT", BOTH).split()
    if "resilience" in gone:
        without_resilience()
    if "telemetry" in gone:
        without_telemetry()
    if set(BOTH.split()) <= set(gone):
        without_frame()
    name = sys.argv.pop(1)
    if name.startswith("control_room"):
        raise SystemExit("the control room takes in traces: there are none")
    runpy.run_module(f"services.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
