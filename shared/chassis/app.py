"""The application frame: what is the same in every service, in the order in which it starts and stops."""

import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from shared.chassis.admission import Admission, Priorities, Priority
from shared.chassis.background import Background
from shared.chassis.clock import Clock
from shared.chassis.connections import has_descriptors
from shared.chassis.database import Database, DatabaseUnavailable
from shared.chassis.faults import Faults
from shared.chassis.faults.admin import faults_admin
from shared.chassis.frame import Frame
from shared.chassis.health import Health
from shared.chassis.metrics import RequestMetrics, expose
from shared.chassis.migrations import migrate, require_migrated
from shared.chassis.problems import COMMON, Problem, answer_invalid, answer_problem
from shared.chassis.settings import ServiceSettings
from shared.telemetry import remark

log = structlog.get_logger()

Resources = Callable[[], AbstractAsyncContextManager[None]]


class Chassis:
    """The parts that a service is built on."""

    def __init__(
        self, settings: ServiceSettings, *, version: str, migrations: Path, title: str, description: str = ""
    ) -> None:
        self.settings, self.version, self.migrations = settings, version, migrations
        self.title, self.description = title, description
        self.started_at = time.time()
        self.start_failure: Exception | None = None
        self.metrics = CollectorRegistry()
        self.database = Database(settings.database_url.get_secret_value(), synchronous=settings.sqlite_synchronous)
        self.faults = Faults(self.metrics, self.database, allowed=settings.fault_injection == "on")
        self.clock: Clock = self.faults.clock
        self.health = Health()
        self.background = Background(self.metrics)
        self.admission = Admission(settings.max_requests, self.metrics)
        self.health.add("database", self.database.ping, required=True)
        self.health.add("descriptors", has_descriptors, required=True)

    def info(self) -> dict[str, Any]:
        """Who this replica is."""
        started = datetime.fromtimestamp(self.started_at, UTC)
        return {
            "service": self.settings.service,
            "instance": self.settings.instance,
            "version": self.version,
            "api_version": self.settings.api_version,
            "database": self.database.url.get_backend_name(),
            "started_at": started.isoformat(timespec="seconds"),
        }


def build_app(
    chassis: Chassis,
    *,
    routers: Sequence[APIRouter],
    resources: Resources,
    priorities: Mapping[str, Priority] | None = None,
    unchecked: Collection[str] = (),
) -> FastAPI:
    """The ASGI application of a service.

    `resources()` opens what the service needs (clients, broker) and closes it again; background tasks run inside it.
    `unchecked` are paths whose routes read their JSON themselves, as strictly as the frame would.
    """
    app = FastAPI(
        title=chassis.title,
        description=chassis.description,
        version=chassis.version,
        lifespan=_lifespan(chassis, resources),
        responses=COMMON,
        redirect_slashes=False,  # one resource, one address; the redirect would name the host that the caller claims
        # the frame has a span, numbers and a line of its own for each request
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.chassis, app.state.verifiers = chassis, {}
    app.add_exception_handler(HTTPException, answer_problem)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(DatabaseUnavailable, _answer_database_unavailable)
    app.add_middleware(
        Frame,
        admission=chassis.admission,
        priorities=Priorities(priorities or {}),
        metrics=RequestMetrics(chassis.settings.service, chassis.metrics),
        faults=chassis.faults.http,
        max_body_bytes=chassis.settings.max_body_bytes,
        request_seconds=chassis.settings.request_seconds,
        unchecked=unchecked,
    )
    # the service's own routes first: each request is held against one route after the other
    documentation = app.router.routes.copy()
    app.router.routes.clear()
    for router in routers:
        app.include_router(router)
    app.include_router(_operations(chassis))
    expose(app, chassis.settings.service, chassis.database, chassis.metrics)
    if chassis.settings.fault_injection == "on":
        app.include_router(faults_admin(chassis.faults, chassis.settings.instance))
    app.router.routes.extend(documentation)
    return app


def _lifespan(chassis: Chassis, resources: Resources) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def run(_app: FastAPI) -> AsyncIterator[None]:
        try:
            await chassis.database.verify()
            prepare = migrate if chassis.settings.migrate == "on" else require_migrated
            revision = await prepare(chassis.database, chassis.migrations)
            chassis.background.add("event-loop-lag", chassis.admission.watch_lag)
            async with resources():
                chassis.background.start()
                chassis.health.started = True
                log.info("service started", revision=revision, version=chassis.version)
                try:
                    yield
                finally:
                    chassis.health.draining = True
                    await chassis.faults.close()
                    await chassis.background.stop()
        except Exception as error:
            if not chassis.health.started:
                chassis.start_failure = error  # `serve` tells by it whether another start may help
            raise
        finally:
            await chassis.database.close()
            log.info("service stopped")

    return run


def _operations(chassis: Chassis) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        """The event loop turns."""
        return {"status": "alive"}

    @router.get("/health/ready")
    async def ready() -> Response:
        """The service can do its work. The body lists what it depends on, and the breakers."""
        is_ready, body = await chassis.health.readiness()
        return JSONResponse(body, 200 if is_ready else 503)

    @router.get("/health/startup")
    async def startup() -> Response:
        """The start is over: migrations are applied and the parts are up."""
        started = chassis.health.started
        return JSONResponse({"status": "started" if started else "starting"}, 200 if started else 503)

    @router.get("/info")
    async def info() -> dict[str, Any]:
        """Who this replica is."""
        return chassis.info()

    return router


async def _answer_database_unavailable(request: Any, error: Exception) -> Response:
    remark("database unavailable", level=logging.WARNING, reason=str(error)[:200])
    problem = Problem(503, "database-unavailable", "Database unavailable", headers={"Retry-After": "1"})
    return problem.response(request.scope["path"])
