"""The order service."""

from pathlib import Path

from fastapi import FastAPI

from services.order.api import router
from services.order.service import Service
from services.order.settings import OrderSettings
from shared.chassis.admission import Priority
from shared.chassis.app import Chassis, build_app
from shared.resilience.prometheus import ResilienceCollector

VERSION = "1.0.0"


def create_app(settings: OrderSettings) -> FastAPI:
    """The ASGI application. Raises `ConfigError` or `ConfigurationError` for what is wrong in the configuration."""
    chassis = Chassis(
        settings,
        version=VERSION,
        migrations=Path(__file__).parent / "migrations",
        title="Holdfast order service",
        description="Places orders: holds stock, charges the card once, confirms; survives the loss of any part.",
    )
    service = Service(settings, chassis)
    chassis.metrics.register(ResilienceCollector(service.registry))
    chassis.health.add("broker", _broker_check(service), required=False)
    chassis.health.add_detail("breakers", service.registry.breaker_states)
    app = build_app(
        chassis,
        routers=[router],
        resources=lambda: service.resources(app),
        priorities={"POST /orders": Priority.NEW},
    )
    return app


def _broker_check(service: Service):  # noqa: ANN202
    async def check() -> None:
        if not service.broker.connected:
            raise ConnectionError("not connected")

    return check
