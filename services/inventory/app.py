"""The inventory service: what is for sale, how much of it is free, and the holds that orders take on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import structlog
from fastapi import FastAPI

from services.inventory import api
from services.inventory.catalogue import Catalogue, read_catalogue
from services.inventory.expiry import Expiry
from services.inventory.metrics import InventoryMetrics
from services.inventory.restock import Restocking
from services.inventory.settings import InventorySettings
from services.inventory.stock import Stock
from shared.chassis.admission import Priority
from shared.chassis.app import Chassis, build_app

VERSION = "0.1.0"
MIGRATIONS = Path(__file__).parent / "migrations"

_PRIORITIES = {
    # these begin orders; commits, releases and the reservations of orders under way are shed last
    "GET /products": Priority.NEW,
    "GET /products/{sku}": Priority.NEW,
    "POST /availability": Priority.NEW,
}

_log = structlog.get_logger()


def create_app(settings: InventorySettings) -> FastAPI:
    """The service as an ASGI application. Raises `ConfigurationError` when the catalogue file is wrong."""
    entries = read_catalogue(settings.catalogue)
    chassis = Chassis(
        settings,
        version=VERSION,
        migrations=MIGRATIONS,
        title="Holdfast inventory",
        description=__doc__ or "",
    )
    clock = chassis.clock
    metrics = InventoryMetrics(chassis.metrics)
    stock = Stock(chassis.database, clock)
    catalogue = Catalogue(chassis.database)
    chassis.background.add("expiry", Expiry(stock, clock, metrics, batch=settings.expiry_batch).run)
    chassis.background.add("stock-gauges", partial(metrics.watch, stock))

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        if changed := await catalogue.seed(entries):
            _log.info("catalogue loaded", products=changed)
        yield

    app = build_app(
        chassis,
        routers=[api.reservations, api.catalogue, api.operations],
        resources=resources,
        priorities=_PRIORITIES,
    )
    app.state.inventory = api.Inventory(stock, catalogue, Restocking(chassis.database, clock), metrics)
    return app
