"""Puts the control room together."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from services.control_room.intake import Intake
from services.control_room.query_api import query_api
from services.control_room.receiver import TRACES_PATH, receiver
from services.control_room.sampling import RateBudget, TailSampler
from services.control_room.searches import Searches
from services.control_room.settings import ControlRoomSettings
from services.control_room.store import Retention, TraceStore
from shared.chassis.app import Chassis, build_app
from shared.chassis.clock import Clock, SystemClock

VERSION = "0.1.0"
MIGRATIONS = Path(__file__).parent / "migrations"


def create_app(
    settings: ControlRoomSettings, *, clock: Clock | None = None, monotonic: Callable[[], float] = time.monotonic
) -> FastAPI:
    """The control room as an ASGI application."""
    clock = clock or SystemClock()
    chassis = Chassis(
        settings,
        version=VERSION,
        migrations=MIGRATIONS,
        title="Holdfast control room",
        description="Takes in traces over OTLP/HTTP, keeps the telling ones, answers as Jaeger does.",
    )
    retention = Retention(settings.retention_hours, settings.retention_spans, int(settings.retention_mb * 1e6))
    sampler = TailSampler(
        share=settings.trace_share,
        slow_us=settings.slow_ms * 1_000,
        wait=settings.decision_seconds,
        budget=RateBudget(settings.trace_floor, monotonic),
        monotonic=monotonic,
    )
    intake = Intake(
        sampler,
        TraceStore(chassis.database, clock, retention),
        chassis.metrics,
        max_spans=settings.queue_spans,
        max_bytes=settings.queue_bytes,
        monotonic=monotonic,
    )
    chassis.background.add("trace-writer", intake.run)

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await intake.finish()

    app = build_app(
        chassis,
        routers=[
            receiver(intake, settings.senders(), settings.max_body_bytes),
            query_api(Searches(chassis.database), clock),
        ],
        resources=resources,
        unchecked=[TRACES_PATH],
    )
    app.state.intake = intake
    return app
