"""What the inventory's tests share."""

from typing import NamedTuple

from sqlalchemy import select

from services.inventory.reservation import State
from services.inventory.tables import products, reservations
from shared.chassis.database import Database


class HandClock:
    """A clock that only the test moves, in seconds since the epoch."""

    def __init__(self, seconds: float = 1_700_000_000.0) -> None:
        self.seconds = seconds

    def now(self) -> float:
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds


class Units(NamedTuple):
    initial: int
    free: int
    held: int
    sold: int


async def units(database: Database) -> dict[str, Units]:
    """The stock of each product."""
    columns = (products.c.sku, *(products.c[name] for name in Units._fields))
    async with database.read() as connection:
        return {row[0]: Units(*row[1:]) for row in await connection.execute(select(*columns))}


async def assert_sound(database: Database) -> None:
    """Stock adds up, is never negative, and is what the reservations say."""
    owed: dict[tuple[str, str], int] = {}
    async with database.read() as connection:
        for row in await connection.execute(select(reservations.c.state, reservations.c["items"])):
            for sku, quantity in row[1].items():
                owed[row[0], sku] = owed.get((row[0], sku), 0) + quantity
    for sku, stock in (await units(database)).items():
        assert min(stock) >= 0, (sku, stock)
        assert stock.free + stock.held + stock.sold == stock.initial, (sku, stock)
        assert stock.held == owed.get((State.HELD, sku), 0), (sku, stock)
        assert stock.sold == owed.get((State.COMMITTED, sku), 0), (sku, stock)
