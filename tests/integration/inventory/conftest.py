"""An inventory of three products on a fresh database, with a clock that stands still."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import services.inventory
from services.inventory.catalogue import Catalogue, Entry
from services.inventory.stock import Stock
from shared.chassis.database import Database
from shared.chassis.migrations import migrate
from tests.integration.inventory.parts import HandClock

MIGRATIONS = Path(services.inventory.__path__[0]) / "migrations"

PRICES = {"EUR": 1000, "JPY": 1700}
ENTRIES = [
    Entry(sku="bell", name="Bell", description="Brass.", prices=PRICES, stock=10),
    Entry(sku="anchor", name="Anchor", description="Iron.", prices=PRICES, stock=100),
    Entry(sku="cable", name="Cable", description="Hemp.", prices=PRICES, stock=5),
]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    # patient: these tests queue hundreds of writers on a machine that may be busy
    database = Database(database_url, wait_seconds=60, synchronous="normal")
    await migrate(database, MIGRATIONS)
    await Catalogue(database).seed(ENTRIES)
    yield database
    await database.close()


@pytest.fixture
def stock(database: Database, clock: HandClock) -> Stock:
    return Stock(database, clock)
