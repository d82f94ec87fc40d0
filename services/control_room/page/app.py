"""Puts the page together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from services.control_room.page.deeds import deeds
from services.control_room.page.entrance import entrance
from services.control_room.page.exporter import ExperimentCollector
from services.control_room.page.gate import Doorman, Sessions
from services.control_room.page.reading import reading
from services.control_room.page.room import Room
from services.control_room.page.settings import PageSettings
from services.control_room.page.sources.names import Resolve, resolve
from shared.chassis.app import Chassis, build_app
from shared.chassis.clock import Clock, SystemClock

VERSION = "0.1.0"
MIGRATIONS = Path(__file__).parent / "migrations"


def create_app(settings: PageSettings, *, clock: Clock | None = None, resolve: Resolve = resolve) -> FastAPI:
    """The page as an ASGI application. `resolve`: what looks the names of replicas up."""
    chassis = Chassis(
        settings,
        version=VERSION,
        migrations=MIGRATIONS,
        title="Holdfast control room: the page",
        description="Shows what the platform does, and has the levers to break and mend it.",
    )
    room = Room(settings, chassis.database, clock or SystemClock(), resolve)
    sessions = Sessions(settings.admin_token, hours=settings.session_hours)
    if settings.chaos_dir is not None:
        chassis.metrics.register(ExperimentCollector(settings.chaos_dir))
    chassis.background.add("sampler", room.sampler.run)

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        await room.open()
        try:
            yield
        finally:
            await room.close()

    app = build_app(chassis, routers=[entrance(room, sessions), reading(room), deeds(room)], resources=resources)
    app.state.sessions, app.state.room = sessions, room
    app.add_middleware(Doorman, hosts=settings.hosts())
    return app
