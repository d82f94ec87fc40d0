"""The order service."""

import math
from pathlib import Path

from fastapi import FastAPI, Request, Response

from services.order.api import router
from services.order.service import Service
from services.order.settings import OrderSettings
from shared.chassis.admission import Priority
from shared.chassis.app import Chassis, build_app
from shared.chassis.health import Check
from shared.chassis.problems import Problem
from shared.chassis.resilience_admin import resilience_admin
from shared.resilience import BulkheadFull
from shared.resilience.prometheus import ResilienceCollector

VERSION = "1.0.0"
MIGRATIONS = Path(__file__).parent / "migrations"


def create_app(settings: OrderSettings) -> FastAPI:
    """The ASGI application. Raises `ConfigError` or `ConfigurationError` for what is wrong in the configuration."""
    chassis = Chassis(
        settings,
        version=VERSION,
        migrations=MIGRATIONS,
        title="Holdfast order service",
        description="Places orders: holds stock, charges the card once, confirms; survives the loss of any part.",
    )
    service = Service(settings, chassis)
    chassis.metrics.register(ResilienceCollector(service.registry))
    chassis.health.add("broker", _broker_check(service), required=False)
    chassis.health.add_detail("breakers", lambda: {n: b.state for n, b in service.registry.breakers.items()})
    app = build_app(
        chassis,
        routers=[router, resilience_admin(service.registry, settings.instance)],
        resources=lambda: service.resources(app),
        priorities={"POST /orders": Priority.NEW},
    )
    app.add_exception_handler(BulkheadFull, _answer_full)
    return app


async def _answer_full(request: Request, error: Exception) -> Response:
    retry_after = str(math.ceil(getattr(error, "retry_after", 1.0)))
    problem = Problem(503, "overloaded", "Too much load", "try again shortly", headers={"Retry-After": retry_after})
    return problem.response(request.scope["path"])


def _broker_check(service: Service) -> Check:
    async def check() -> None:
        if not service.broker.connected:
            raise ConnectionError("not connected")

    return check
