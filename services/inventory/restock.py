"""Deliveries: an operator adds stock, once for each key."""

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite

from services.inventory.catalogue import Product
from services.inventory.reservation import StockError, UnknownSku
from services.inventory.tables import products, restocks
from shared.chassis.clock import Clock
from shared.chassis.database import Database


class KeyReused(StockError):
    """The key was used for another sku or another quantity."""


class Restocking:
    """Adds to `initial` and `free`, and remembers the keys it has seen."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._insert = sqlite.insert if database.is_sqlite else postgresql.insert

    async def add(self, key: str, sku: str, quantity: int) -> tuple[Product, bool]:
        """Add `quantity` units unless `key` did so before; return the product and whether it was new.

        Raises `UnknownSku` (and forgets the key) or `KeyReused`.
        """
        delivery = self._insert(restocks).values(
            key=key, sku=sku, quantity=quantity, created_at=round(self._clock.now() * 1000)
        )
        more = {"initial": products.c.initial + quantity, "free": products.c.free + quantity}
        product = select(products).where(products.c.sku == sku)
        async with self._database.write() as connection:
            fresh = await connection.execute(delivery.on_conflict_do_nothing().returning(restocks.c.key))
            new = fresh.one_or_none() is not None
            if new:
                statement = update(products).where(products.c.sku == sku).values(more).returning(*products.c)
                row = (await connection.execute(statement)).one_or_none()
            else:
                before = (await connection.execute(select(restocks).where(restocks.c.key == key))).one()
                if (before.sku, before.quantity) != (sku, quantity):
                    raise KeyReused(key)
                row = (await connection.execute(product)).one_or_none()
            if row is None:
                raise UnknownSku([sku])
        return Product(row.sku, row.name, row.description, row.prices, row.free), new
