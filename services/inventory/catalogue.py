"""What is for sale, at which prices, and how much of it is free: the reading side of the inventory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from sqlalchemy import Row, Select, Text, bindparam, cast, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from services.inventory.reservation import UnknownCurrency, UnknownSku
from services.inventory.tables import Items, products
from shared.chassis.database import Database
from shared.chassis.settings import ConfigurationError

Sku = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
MinorUnits = Annotated[int, Field(ge=1, le=100_000_000)]


class Entry(BaseModel):
    """One product of the catalogue file; `stock` is what it starts with, prices are in minor units."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sku: Sku
    name: str = Field(min_length=1, max_length=200)
    description: str = Field(max_length=2_000)
    prices: dict[Currency, MinorUnits] = Field(min_length=1)
    stock: int = Field(ge=0, le=1_000_000_000)


class CatalogueFile(BaseModel):
    """The whole file: each sku once, and every product priced in the same currencies."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    products: list[Entry] = Field(min_length=1, max_length=10_000)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        skus = [entry.sku for entry in self.products]
        if twice := sorted({sku for sku in skus if skus.count(sku) > 1}):
            raise ValueError(f"listed more than once: {', '.join(twice)}")
        currencies = {currency for entry in self.products for currency in entry.prices}
        if short := [entry.sku for entry in self.products if set(entry.prices) != currencies]:
            raise ValueError(f"not priced in all of {', '.join(sorted(currencies))}: {', '.join(short)}")
        return self


@dataclass(frozen=True, slots=True)
class Product:
    """A product as customers see it; `available` units are free now."""

    sku: str
    name: str
    description: str
    prices: dict[str, int]
    available: int


@dataclass(frozen=True, slots=True)
class Quote:
    """One item of a would-be order: what there is of it, and its price in minor units."""

    sku: str
    quantity: int
    available: int
    unit_price: int

    @property
    def sufficient(self) -> bool:
        """Whether the quantity could be held now."""
        return self.available >= self.quantity


def read_catalogue(path: Path) -> list[Entry]:
    """The products in a catalogue file. Raises `ConfigurationError` with the file and the line of what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
        return CatalogueFile.model_validate(yaml.safe_load(text)).products
    except OSError as error:
        raise ConfigurationError(f"CATALOGUE: {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"CATALOGUE: {path}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        line = _line(yaml.compose(text, Loader=yaml.SafeLoader), first["loc"])
        raise ConfigurationError(f"CATALOGUE: {path}:{line}: {field}: {first['msg']}") from None


def _line(node: yaml.Node | None, loc: Sequence[int | str]) -> int:
    """The line of the deepest node on the way to `loc` that the file has."""
    if node is None:
        return 1
    for part in loc:
        child: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            child = next((value for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            child = node.value[part]
        if child is None:
            break
        node = child
    return int(node.start_mark.line) + 1


class Catalogue:
    """The products table, read one query at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def seed(self, entries: Sequence[Entry]) -> int:
        """Add new products and take over changed names, descriptions and prices; return how many rows that were.

        Stock is set only for a new product. Replicas may do this at once: the rows come in the order of the skus, and
        what is the same already is left alone.
        """
        rows = [
            {
                "sku": entry.sku,
                "name": entry.name,
                "description": entry.description,
                "prices": dict(sorted(entry.prices.items())),
                "initial": entry.stock,
                "free": entry.stock,
                "held": 0,
                "sold": 0,
            }
            for entry in sorted(entries, key=lambda entry: entry.sku)
        ]
        new = (sqlite.insert if self._database.is_sqlite else postgresql.insert)(products)
        told = {column: new.excluded[column] for column in ("name", "description", "prices")}
        changed = or_(*(cast(products.c[column], Text) != cast(value, Text) for column, value in told.items()))
        statement = new.on_conflict_do_update(index_elements=[products.c.sku], set_=told, where=changed)
        async with self._database.write() as connection:
            return len((await connection.execute(statement.returning(products.c.sku), rows)).all())

    async def page(self, limit: int, after: str | None) -> tuple[list[Product], str | None]:
        """At most `limit` products in the order of their skus, from behind `after`, and where the next page begins."""
        statement = _SHOWN.order_by(products.c.sku).limit(limit + 1)
        if after is not None:
            statement = statement.where(products.c.sku > after)
        async with self._database.read() as connection:
            found = [_product(row) for row in await connection.execute(statement)]
        return found[:limit], found[limit - 1].sku if len(found) > limit else None

    async def find(self, sku: str) -> Product:
        """One product, or `UnknownSku`."""
        async with self._database.read() as connection:
            row = (await connection.execute(_SHOWN.where(products.c.sku == sku))).one_or_none()
        if row is None:
            raise UnknownSku([sku])
        return _product(row)

    async def quote(self, items: Items, currency: str) -> list[Quote]:
        """Stock and price of each item, in the order asked. Raises `UnknownSku` or `UnknownCurrency`."""
        wanted = {"skus": list(items)}
        rows = await self._database.query(lambda connection: connection.execute(_QUOTED, wanted).all())
        found = {row.sku: row for row in rows}
        if unknown := [sku for sku in items if sku not in found]:
            raise UnknownSku(unknown)
        if any(currency not in row.prices for row in found.values()):
            raise UnknownCurrency(currency)
        return [Quote(sku, quantity, found[sku].free, found[sku].prices[currency]) for sku, quantity in items.items()]


_SHOWN: Select[Any] = select(
    products.c.sku, products.c.name, products.c.description, products.c.prices, products.c.free
)
# made once: it is asked for every order
_QUOTED = select(products.c.sku, products.c.free, products.c.prices).where(
    products.c.sku.in_(bindparam("skus", expanding=True))
)


def _product(row: Row[Any]) -> Product:
    return Product(row.sku, row.name, row.description, row.prices, row.free)
