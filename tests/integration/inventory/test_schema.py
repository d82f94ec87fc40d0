"""The migrations build the tables that the code speaks of."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, update
from sqlalchemy.exc import IntegrityError

from services.inventory.tables import metadata, products
from shared.chassis.database import Database


async def test_the_migrated_schema_is_the_one_in_the_code(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with database.write() as connection:
        assert await connection.run_sync(differences) == []


@pytest.mark.parametrize(
    "change", [{"free": -1, "held": 11}, {"held": -1, "free": 11}, {"sold": -1, "free": 11}, {"free": 9}]
)
async def test_the_database_itself_refuses_stock_that_cannot_be(database: Database, change: dict[str, int]) -> None:
    with pytest.raises(IntegrityError):
        async with database.write() as connection:
            await connection.execute(update(products).where(products.c.sku == "bell").values(change))
