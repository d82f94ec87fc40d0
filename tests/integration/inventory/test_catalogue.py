"""The catalogue's table and the restocks, on both databases."""

import asyncio

import pytest

from services.inventory.catalogue import Catalogue, Entry
from services.inventory.reservation import KeyReused, UnknownCurrency, UnknownSku
from services.inventory.restock import Restocking
from services.inventory.stock import Stock
from shared.chassis.database import Database
from tests.integration.inventory.conftest import ENTRIES, PRICES
from tests.integration.inventory.parts import HandClock, Units, units


@pytest.fixture
def catalogue(database: Database) -> Catalogue:
    return Catalogue(database)


@pytest.fixture
def restocking(database: Database, clock: HandClock) -> Restocking:
    return Restocking(database, clock)


async def test_seeding_what_is_there_changes_nothing(catalogue: Catalogue) -> None:
    assert await catalogue.seed(ENTRIES) == 0


async def test_a_changed_file_changes_names_and_prices_but_never_stock(
    catalogue: Catalogue, stock: Stock, database: Database
) -> None:
    await stock.reserve("o1", {"bell": 4}, 60)
    changed = Entry(sku="bell", name="Ship's Bell", description="Brass.", prices={"EUR": 1, "JPY": 2}, stock=999)
    new = Entry(sku="drum", name="Drum", description="", prices=PRICES, stock=7)
    assert await catalogue.seed([*ENTRIES[1:], changed, new]) == 2
    bell = await catalogue.find("bell")
    assert (bell.name, bell.prices, bell.available) == ("Ship's Bell", {"EUR": 1, "JPY": 2}, 6)
    assert (await units(database))["bell"] == Units(10, 6, 4, 0)
    assert (await catalogue.find("drum")).available == 7


async def test_replicas_may_seed_together(database: Database, database_url: str) -> None:
    other = Database(database_url, wait_seconds=60)
    entries = [
        Entry(sku=f"new-{n}", name=f"New {n}", description="", prices=PRICES, stock=n) for n in (3, 1, 2, 10, 20)
    ]
    try:
        counts = await asyncio.gather(
            *(Catalogue(replica).seed(order) for replica in (database, other) for order in (entries, entries[::-1]))
        )
    finally:
        await other.close()
    assert sum(counts) == 5
    assert (await units(database))["new-20"] == Units(20, 20, 0, 0)


async def test_pages_follow_each_other_in_one_order_on_every_database(catalogue: Catalogue) -> None:
    # a database that sorts by the rules of a language would put "bell-1" behind "bella"
    more = [Entry(sku=sku, name=sku, description="", prices=PRICES, stock=1) for sku in ("bella", "bell-1", "9-pins")]
    await catalogue.seed(more)
    seen: list[str] = []
    after: str | None = None
    for size in (2, 2, 2):
        page, after = await catalogue.page(2, after)
        assert len(page) == size
        seen += [product.sku for product in page]
    assert seen == ["9-pins", "anchor", "bell", "bell-1", "bella", "cable"]
    assert after is None


async def test_the_last_full_page_has_no_next(catalogue: Catalogue) -> None:
    page, following = await catalogue.page(3, None)
    assert (len(page), following) == (3, None)
    assert await catalogue.page(3, "cable") == ([], None)


async def test_a_quote_says_what_is_free_and_what_it_costs_in_the_order_asked(
    catalogue: Catalogue, stock: Stock
) -> None:
    await stock.reserve("o1", {"cable": 2}, 60)
    quotes = await catalogue.quote({"cable": 4, "anchor": 100}, "JPY")
    assert [(q.sku, q.quantity, q.available, q.unit_price, q.sufficient) for q in quotes] == [
        ("cable", 4, 3, 1700, False),
        ("anchor", 100, 100, 1700, True),
    ]


async def test_a_quote_refuses_unknown_products_and_currencies(catalogue: Catalogue) -> None:
    with pytest.raises(UnknownSku) as refused:
        await catalogue.quote({"bell": 1, "zither": 1}, "EUR")
    assert refused.value.skus == ["zither"]
    with pytest.raises(UnknownCurrency):
        await catalogue.quote({"bell": 1}, "CHF")


async def test_a_restock_is_applied_once_for_its_key(restocking: Restocking, database: Database) -> None:
    first, again = [await restocking.add("k1", "bell", 5) for _ in range(2)]
    assert first.available == again.available == 15
    assert (await units(database))["bell"] == Units(15, 15, 0, 0)
    await restocking.add("k2", "bell", 5)
    assert (await units(database))["bell"].free == 20


async def test_ten_restocks_with_one_key_at_once_are_one(restocking: Restocking, database: Database) -> None:
    await asyncio.gather(*(restocking.add("k1", "bell", 5) for _ in range(10)))
    assert (await units(database))["bell"] == Units(15, 15, 0, 0)


@pytest.mark.parametrize(("sku", "quantity"), [("bell", 6), ("anchor", 5)])
async def test_a_key_is_good_for_one_product_and_quantity(
    restocking: Restocking, database: Database, sku: str, quantity: int
) -> None:
    await restocking.add("k1", "bell", 5)
    with pytest.raises(KeyReused):
        await restocking.add("k1", sku, quantity)
    assert (await units(database))["bell"].free == 15


async def test_a_restock_of_an_unknown_product_leaves_the_key_free(restocking: Restocking) -> None:
    with pytest.raises(UnknownSku):
        await restocking.add("k1", "zither", 5)
    assert (await restocking.add("k1", "bell", 5)).available == 15
