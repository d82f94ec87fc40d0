"""The inventory database: products with their stock, reservations, restocks. Times are epoch milliseconds."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Dialect,
    Index,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

Items = Mapping[str, int]
"""Quantity by sku: what a reservation holds."""


class ItemsText(TypeDecorator[Items]):
    """`[{"sku", "quantity"}]` in the order of the skus: equal items are equal text, so that SQL can compare them."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Items | None, _dialect: Dialect) -> str | None:
        """Items to canonical JSON."""
        if value is None:
            return None
        lines = [{"sku": sku, "quantity": value[sku]} for sku in sorted(value)]
        return json.dumps(lines, separators=(",", ":"))

    def process_result_value(self, value: Any, _dialect: Dialect) -> Items | None:
        """JSON to items."""
        return None if value is None else {line["sku"]: line["quantity"] for line in json.loads(value)}


# Postgres would sort "mug-10" by the rules of the database's language; pages and locks need one order everywhere.
Sku = String(64).with_variant(String(64, collation="C"), "postgresql")

metadata = MetaData()

products = Table(
    "products",
    metadata,
    Column("sku", Sku, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("description", Text, nullable=False),
    Column("prices", JSON, nullable=False),
    Column("initial", BigInteger, nullable=False),
    Column("free", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("sold", BigInteger, nullable=False),
    CheckConstraint("free >= 0", name="products_free_not_negative"),
    CheckConstraint("held >= 0", name="products_held_not_negative"),
    CheckConstraint("sold >= 0", name="products_sold_not_negative"),
    CheckConstraint("sold + held + free = initial", name="products_stock_adds_up"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("state", String(9), nullable=False),
    Column("items", ItemsText, nullable=False),
    # null in a tombstone: a release that came before its reservation
    Column("expires_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    CheckConstraint(
        "state IN ('HELD', 'COMMITTED', 'RELEASED', 'EXPIRED', 'RETURNED')", name="reservations_state_known"
    ),
)

Index(
    "reservations_held_by_expiry",
    reservations.c.expires_at,
    sqlite_where=text("state = 'HELD'"),
    postgresql_where=text("state = 'HELD'"),
)

restocks = Table(
    "restocks",
    metadata,
    Column("key", String(128), primary_key=True),
    Column("sku", Sku, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
