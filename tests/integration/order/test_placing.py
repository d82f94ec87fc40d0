"""One idempotency key is one order."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.order.states import State
from shared.chassis.problems import Problem
from shared.resilience import deadline
from tests.integration.order.partners import Fuse, Killed
from tests.integration.order.world import World, new_order


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    world = World(database_url, stock=1_000)
    await world.start()
    yield world
    await world.close()


async def test_two_hundred_copies_of_a_request_are_one_order_one_charge_and_equal_answers(world: World) -> None:
    answers = await asyncio.gather(*(world.place() for _ in range(200)))
    assert len({order.id for order, _, _ in answers}) == 1
    assert {answer["status"] for _, answer, _ in answers} == {201}
    assert [replayed for _, _, replayed in answers].count(False) == 1
    assert len(world.payment.charges) == 1
    await world.check_invariants()


@pytest.mark.parametrize("prices", ["asked for", "remembered"])
async def test_a_repetition_is_told_what_was_told_first_even_after_the_order_has_moved_on(
    world: World, prices: str
) -> None:
    world.payment.down = True
    await world.place()
    world.payment.down = False
    await world.recover()
    world.inventory.remembers = prices == "remembered"
    order, answer, replayed = await world.place()
    assert (order.state, answer["status"], answer["state"], replayed) == (State.CONFIRMED, 202, "PENDING_PAYMENT", True)


@pytest.mark.parametrize(
    "other",
    [
        new_order(quantity=2),
        new_order(customer="grace"),
        new_order(currency="USD"),
        new_order(payment_method={"type": "card", "number": "5555555555554444"}),
    ],
)
async def test_a_key_used_for_another_order_is_refused_naming_the_header(world: World, other) -> None:
    await world.place()
    with pytest.raises(Problem) as refused:
        await world.place(wanted=other)
    assert (refused.value.status_code, refused.value.errors[0].field) == (422, "Idempotency-Key")


async def test_a_repetition_after_a_kill_finishes_the_order_once_its_lease_is_over(world: World) -> None:
    await world.start(Fuse(8))
    with pytest.raises(Killed):
        await world.place()
    await world.start()
    world.clock.seconds += 30
    _, answer, replayed = await world.place()
    assert (answer["status"], replayed, len(world.payment.charges)) == (201, True, 1)
    await world.check_invariants()


async def test_a_repetition_while_somebody_else_works_on_the_order_is_told_to_come_back(world: World) -> None:
    await world.start(Fuse(8))
    with pytest.raises(Killed):
        await world.place()
    await world.start()
    with deadline(0.2), pytest.raises(Problem) as refused:
        await world.place()
    assert (refused.value.status_code, refused.value.slug) == (409, "request-in-progress")


async def test_the_card_number_is_stored_nowhere(world: World, sqlite_url: str) -> None:
    world.payment.down = True
    await world.place()
    await world.close()
    path = sqlite_url.removeprefix("sqlite+aiosqlite:///")
    for file in Path(path).parent.glob(Path(path).name + "*"):
        assert b"4242424242424242" not in file.read_bytes()
