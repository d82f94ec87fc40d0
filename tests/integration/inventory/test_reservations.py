"""The life of a reservation, on both databases."""

import pytest

from services.inventory.catalogue import Catalogue
from services.inventory.reservation import (
    HoldExpired,
    InsufficientStock,
    Outcome,
    ReservationConflict,
    ReservationReleased,
    Shortage,
    State,
    UnknownReservation,
    UnknownSku,
)
from services.inventory.stock import Stock
from shared.chassis.database import Database
from tests.fixtures.statements import compiled_statements
from tests.integration.inventory.parts import HandClock, Units, assert_sound, units

ITEMS = {"bell": 3, "anchor": 20}


async def test_a_hold_takes_all_its_items_from_free_stock(stock: Stock, database: Database, clock: HandClock) -> None:
    reservation, outcome = await stock.reserve("o1", ITEMS, 60)
    assert (reservation.state, outcome) == (State.HELD, Outcome.HELD)
    assert reservation.expires_at == (clock.now() + 60) * 1000
    assert reservation.items == ITEMS
    assert await stock.find("o1") == reservation
    found = await units(database)
    assert (found["bell"], found["anchor"]) == (Units(10, 7, 3, 0), Units(100, 80, 20, 0))
    assert found["cable"] == Units(5, 5, 0, 0)


async def test_a_repeated_reserve_holds_once_and_does_not_prolong(
    stock: Stock, database: Database, clock: HandClock
) -> None:
    first, _ = await stock.reserve("o1", ITEMS, 60)
    clock.pass_by(10)
    again, outcome = await stock.reserve("o1", dict(reversed(ITEMS.items())), 60)
    assert (again, outcome) == (first, Outcome.REPEATED)
    assert (await units(database))["bell"].held == 3


async def test_one_short_item_leaves_the_others_untouched(stock: Stock, database: Database) -> None:
    with pytest.raises(InsufficientStock) as refused:
        await stock.reserve("o1", {"anchor": 20, "bell": 11, "cable": 5}, 60)
    assert refused.value.items == [Shortage("anchor", 20, 100), Shortage("bell", 11, 10), Shortage("cable", 5, 5)]
    assert all(found.held == 0 for found in (await units(database)).values())
    with pytest.raises(UnknownReservation):
        await stock.find("o1")
    assert (await stock.reserve("o1", {"bell": 10}, 60))[1] is Outcome.HELD


async def test_an_unknown_sku_is_named_and_holds_nothing(stock: Stock, database: Database) -> None:
    with pytest.raises(UnknownSku) as refused:
        await stock.reserve("o1", {"anchor": 1, "zither": 1, "banjo": 1}, 60)
    assert refused.value.skus == ["banjo", "zither"]
    assert (await units(database))["anchor"].held == 0


async def test_a_commit_sells_once_however_often_it_is_repeated(stock: Stock, database: Database) -> None:
    await stock.reserve("o1", ITEMS, 60)
    sold, outcome = await stock.commit("o1")
    assert (sold.state, outcome) == (State.COMMITTED, Outcome.COMMITTED)
    assert await stock.commit("o1") == (sold, Outcome.REPEATED)
    assert (await stock.reserve("o1", ITEMS, 60)) == (sold, Outcome.REPEATED)
    assert (await units(database))["bell"] == Units(10, 7, 0, 3)


async def test_the_same_id_with_other_items_is_a_conflict_in_every_state_that_has_items(
    stock: Stock, clock: HandClock, database: Database
) -> None:
    for name in ("held", "committed", "expired"):
        await stock.reserve(name, {"anchor": 1}, 60)
    await stock.commit("committed")
    await stock.commit("held")
    await stock.release("held")
    await stock.reserve("held-2", {"anchor": 1}, 600)
    clock.pass_by(61)
    assert await stock.expire(10) == 1
    for name in ("held-2", "committed", "expired"):
        with pytest.raises(ReservationConflict):
            await stock.reserve(name, {"anchor": 2}, 60)
    await assert_sound(database)


async def test_a_release_gives_back_what_is_held(stock: Stock, database: Database) -> None:
    await stock.reserve("o1", ITEMS, 60)
    released, outcome = await stock.release("o1")
    assert (released.state, released.items, outcome) == (State.RELEASED, ITEMS, Outcome.RELEASED)
    assert await stock.release("o1") == (released, Outcome.REPEATED)
    assert (await units(database))["bell"] == Units(10, 10, 0, 0)


async def test_a_release_of_a_sale_returns_the_stock(stock: Stock, database: Database) -> None:
    await stock.reserve("o1", ITEMS, 60)
    await stock.commit("o1")
    returned, outcome = await stock.release("o1")
    assert (returned.state, outcome) == (State.RETURNED, Outcome.RETURNED)
    assert await stock.release("o1") == (returned, Outcome.REPEATED)
    assert (await units(database))["bell"] == Units(10, 10, 0, 0)


async def test_a_release_before_the_reservation_refuses_it_for_ever(stock: Stock, database: Database) -> None:
    tombstone, outcome = await stock.release("o1")
    assert (tombstone.state, tombstone.items, tombstone.expires_at) == (State.RELEASED, {}, None)
    assert outcome is Outcome.RELEASED
    assert await stock.release("o1") == (tombstone, Outcome.REPEATED)
    with pytest.raises(ReservationReleased):
        await stock.reserve("o1", ITEMS, 60)
    assert (await units(database))["bell"].held == 0


async def test_what_was_given_back_can_be_neither_taken_nor_committed(stock: Stock) -> None:
    for name in ("released", "returned"):
        await stock.reserve(name, {"anchor": 1}, 60)
    await stock.commit("returned")
    for name in ("released", "returned"):
        await stock.release(name)
        with pytest.raises(ReservationReleased):
            await stock.commit(name)
        with pytest.raises(ReservationReleased):
            await stock.reserve(name, {"anchor": 1}, 60)


async def test_an_expired_hold_gives_its_stock_back_and_cannot_be_committed(
    stock: Stock, database: Database, clock: HandClock
) -> None:
    await stock.reserve("o1", ITEMS, 60)
    clock.pass_by(59.999)
    assert await stock.expire(10) == 0
    clock.pass_by(0.001)
    assert await stock.expire(10) == 1
    assert (await stock.find("o1")).state is State.EXPIRED
    assert (await units(database))["bell"] == Units(10, 10, 0, 0)
    with pytest.raises(HoldExpired):
        await stock.commit("o1")


async def test_an_expired_hold_may_be_taken_again(stock: Stock, database: Database, clock: HandClock) -> None:
    await stock.reserve("o1", ITEMS, 60)
    clock.pass_by(60)
    await stock.expire(10)
    again, outcome = await stock.reserve("o1", ITEMS, 30)
    assert (again.state, outcome) == (State.HELD, Outcome.RETAKEN)
    assert again.expires_at == (clock.now() + 30) * 1000
    assert (await units(database))["bell"] == Units(10, 7, 3, 0)
    assert (await stock.commit("o1"))[1] is Outcome.COMMITTED


async def test_an_expired_hold_whose_stock_has_gone_to_others_stays_expired(stock: Stock, clock: HandClock) -> None:
    await stock.reserve("o1", {"cable": 5}, 60)
    clock.pass_by(60)
    await stock.expire(10)
    await stock.reserve("o2", {"cable": 1}, 60)
    with pytest.raises(InsufficientStock) as refused:
        await stock.reserve("o1", {"cable": 5}, 60)
    assert refused.value.items == [Shortage("cable", 5, 4)]
    assert (await stock.find("o1")).state is State.EXPIRED


async def test_an_expired_hold_can_be_released(stock: Stock, database: Database, clock: HandClock) -> None:
    await stock.reserve("o1", ITEMS, 60)
    clock.pass_by(60)
    await stock.expire(10)
    assert (await stock.release("o1"))[0].state is State.RELEASED
    assert (await units(database))["bell"] == Units(10, 10, 0, 0)


async def test_an_overdue_hold_that_nobody_has_swept_is_still_good(
    stock: Stock, database: Database, clock: HandClock
) -> None:
    await stock.reserve("committed", {"bell": 1}, 60)
    await stock.reserve("retaken", {"bell": 2}, 60)
    clock.pass_by(61)
    assert (await stock.commit("committed"))[1] is Outcome.COMMITTED
    renewed, outcome = await stock.reserve("retaken", {"bell": 2}, 60)
    assert outcome is Outcome.RETAKEN
    assert renewed.expires_at == (clock.now() + 60) * 1000
    assert await stock.expire(10) == 0
    assert (await units(database))["bell"] == Units(10, 7, 2, 1)


async def test_an_unknown_reservation_cannot_be_committed(stock: Stock) -> None:
    with pytest.raises(UnknownReservation):
        await stock.commit("never")


async def test_totals_add_up_all_products_and_count_the_holds(stock: Stock) -> None:
    await stock.reserve("o1", {"bell": 3, "cable": 1}, 60)
    await stock.reserve("o2", {"bell": 2}, 60)
    await stock.commit("o2")
    totals = await stock.totals()
    assert (totals.free, totals.held, totals.sold, totals.holds) == (109, 4, 2, 1)


async def test_only_the_first_order_compiles_statements(stock: Stock, database: Database) -> None:
    with compiled_statements() as compiled:
        for number in (1, 2):
            await Catalogue(database).quote({"bell": 1}, "EUR")
            await stock.reserve(f"sold-{number}", {"bell": 1, "anchor": 2}, 60)
            await stock.commit(f"sold-{number}")
            await stock.reserve(f"free-{number}", {"bell": 1}, 60)
            await stock.release(f"free-{number}")
            of_this_round = compiled()
            assert number == 1 or of_this_round == 0
