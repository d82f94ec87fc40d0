"""A migrated payment database, and a till over it."""

from collections.abc import AsyncIterator

import pytest

from shared.chassis.database import Database
from shared.chassis.migrations import migrate
from tests.integration.payment.counter import Counter, make_settings, open_counter
from tests.integration.payment.till import MIGRATIONS, Till, make_till


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, synchronous="normal")
    await migrate(database, MIGRATIONS)
    yield database
    await database.close()


@pytest.fixture
def till(database: Database) -> Till:
    return make_till(database)


@pytest.fixture
async def counter(database_url: str) -> AsyncIterator[Counter]:
    async with open_counter(make_settings(database_url)) as counter:
        yield counter


@pytest.fixture
async def sqlite_counter(sqlite_url: str) -> AsyncIterator[Counter]:
    """For what does not depend on the database."""
    async with open_counter(make_settings(sqlite_url)) as counter:
        yield counter
