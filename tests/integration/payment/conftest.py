"""A migrated payment database, and a till over it."""

from collections.abc import AsyncIterator

import pytest

from shared.chassis.database import Database
from shared.chassis.migrations import migrate
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
