"""The checkout against a real database, killed at every point where it could be."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from services.order.downstream import UpstreamUnavailable
from services.order.inventory_client import HoldRefused
from services.order.orders import Order, Superseded
from services.order.states import FINAL, NEXT, IllegalTransition, State
from shared.chassis.problems import Problem
from tests.fixtures.statements import compiled_statements
from tests.integration.order.partners import Fuse, Killed
from tests.integration.order.world import World, captured, new_order


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    world = World(database_url)
    await world.start()
    yield world
    await world.close()


async def test_an_order_goes_through_every_step_in_turn(world: World) -> None:
    order, answer, replayed = await world.place()
    assert (order.state, answer["status"], replayed) == (State.CONFIRMED, 201, False)
    states = [step.state for step in await world.orders.history(order.id)]
    assert states == [State.RESERVING, State.CHARGING, State.CONFIRMING, State.CONFIRMED]
    await world.check_invariants()


async def test_a_declined_card_frees_the_stock_and_answers_402(world: World) -> None:
    world.payment.declines = True
    order, answer, _ = await world.place()
    assert (order.state, answer["status"]) == (State.DECLINED, 402)
    assert world.inventory.free["mug"] == 5
    await world.check_invariants()


async def test_stock_that_is_gone_between_check_and_hold_answers_409_and_charges_nothing(world: World) -> None:
    real = world.inventory.quote

    async def then_sold_out(basket, currency):
        quote = await real(basket, currency)
        world.inventory.free["mug"] = world.inventory.initial["mug"] = 0
        return quote

    world.inventory.quote = then_sold_out
    order, answer, _ = await world.place()
    assert (order.state, answer["status"], world.payment.charges) == (State.REJECTED, 409, [])


async def test_an_order_rejected_after_a_retry_leaves_a_tombstone_against_the_first_attempt(world: World) -> None:
    async def refuse_the_second_attempt(_order_id, basket, _ttl_seconds):
        raise HoldRefused([{"sku": "mug", "quantity": 1, "available": 0}], attempt=2)

    world.inventory.reserve = refuse_the_second_attempt
    order, answer, _ = await world.place()
    assert (order.state, answer["status"]) == (State.REJECTED, 409)
    assert world.inventory.holds[order.id][0] == "RELEASED"


async def test_a_short_basket_is_refused_before_anything_is_written(world: World) -> None:
    with pytest.raises(Problem) as refused:
        await world.place(wanted=new_order(quantity=6))
    assert (refused.value.status_code, refused.value.slug) == (409, "insufficient-stock")
    assert await world.all() == []


async def test_payment_down_answers_202_and_the_order_settles_by_itself_once_it_is_back(world: World) -> None:
    world.payment.down = True
    order, answer, _ = await world.place()
    assert (order.state, answer["status"]) == (State.PENDING_PAYMENT, 202)
    world.payment.down = False
    await world.recover()
    assert [o.state for o in await world.all()] == [State.CONFIRMED]
    await world.check_invariants()


async def test_payment_down_without_the_fallback_answers_503_at_once_and_gives_everything_back_later(
    world: World,
) -> None:
    async def nobody_answers(_order):
        raise UpstreamUnavailable("payment", 503)

    real, world.payment.process_payment = world.payment.process_payment, nobody_answers
    world.payment.down = True
    first, answer, _ = await world.place()
    assert (first.state, answer["status"], answer["problem"]["slug"]) == (State.CANCELLING, 503, "payment-unavailable")
    world.payment.process_payment, world.payment.down = real, False
    again, answer, replayed = await world.place()
    assert (again.state, answer["status"], replayed) == (State.CONFIRMED, 201, False)
    await world.recover()
    assert sorted(order.state for order in await world.all()) == [State.CONFIRMED, State.FAILED]
    await world.check_invariants()


async def test_a_charge_whose_answer_was_lost_is_one_charge(world: World) -> None:
    world.payment.loses_answers = True
    order, answer, _ = await world.place()
    assert (answer["status"], world.payment.charges) == (202, [order.id])
    await world.recover()
    await world.check_invariants()
    assert world.payment.charges == [order.id]


async def test_inventory_down_at_the_hold_answers_503_gives_the_key_free_and_holds_nothing(world: World) -> None:
    real = world.inventory.quote

    async def then_down(basket, currency):
        quote = await real(basket, currency)
        world.inventory.down = True
        return quote

    world.inventory.quote = then_down
    _, answer, _ = await world.place()
    assert answer["status"] == 503
    world.inventory.down = False
    world.inventory.quote = real
    again, answer, replayed = await world.place()
    assert (again.state, answer["status"], replayed) == (State.CONFIRMED, 201, False)
    await world.recover()
    assert sorted(o.state for o in await world.all()) == [State.CONFIRMED, State.FAILED]
    await world.check_invariants()


async def test_inventory_down_after_the_charge_answers_202_and_is_confirmed_later(world: World) -> None:
    real = world.payment.process_payment

    async def then_inventory_down(order):
        world.inventory.down = True
        return await real(order)

    world.payment.process_payment = then_inventory_down
    order, answer, _ = await world.place()
    assert (order.state, answer["status"]) == (State.CONFIRMING, 202)
    world.inventory.down = False
    await world.recover()
    assert [o.state for o in await world.all()] == [State.CONFIRMED]
    await world.check_invariants()


async def test_an_expired_hold_is_taken_again_when_there_is_stock(world: World) -> None:
    world.payment.down = True
    order, _, _ = await world.place()
    world.inventory.expire(order.id)
    world.payment.down = False
    await world.recover()
    assert [o.state for o in await world.all()] == [State.CONFIRMED]
    await world.check_invariants()


async def test_an_expired_hold_whose_stock_is_gone_is_refunded_and_cancelled(world: World) -> None:
    world.payment.down = True
    order, _, _ = await world.place(wanted=new_order(quantity=5))
    world.inventory.expire(order.id)
    world.inventory.free["mug"] = world.inventory.initial["mug"] = 1
    world.payment.down = False
    await world.recover()
    assert [o.state for o in await world.all()] == [State.CANCELLED]
    assert (world.payment.charges, world.payment.refunds) == ([order.id], [order.id])
    await world.check_invariants()


async def test_a_payment_that_is_never_settled_is_given_up_after_the_patience(world: World) -> None:
    world.payment.down = True
    order, _, _ = await world.place()
    for _ in range(3):
        world.clock.seconds += 700
        await world.recovery.sweep()
    assert (await world.orders.get(order.id)).state is State.CANCELLING
    world.payment.down = False
    world.clock.seconds += 10
    await world.recovery.sweep()
    assert [o.state for o in await world.all()] == [State.CANCELLED]
    assert world.payment.charge(order.id).status == "VOIDED", "a late charge must be refused"
    await world.check_invariants()


async def test_a_clock_that_jumps_an_hour_ahead_gives_up_no_order(world: World) -> None:
    world.payment.down = True
    order, _, _ = await world.place()
    world.clock.seconds += 3_600
    await world.recovery.sweep()
    assert (await world.orders.get(order.id)).state is State.PENDING_PAYMENT
    world.payment.down = False
    await world.recover()
    assert [o.state for o in await world.all()] == [State.CONFIRMED]
    await world.check_invariants()


async def test_orders_of_a_clock_that_was_an_hour_ahead_are_found_as_soon_as_it_is_set_back(world: World) -> None:
    world.clock.seconds += 3_600
    world.payment.down = True
    queued, _, _ = await world.place("queued")
    begun = await world.orders.begin({**_columns_of(queued), "id": "ord_begun", "idempotency_key": "begun"})
    assert await world.orders.due(10) == []
    world.clock.seconds -= 3_600
    assert {order.id for order in await world.orders.due(10)} == {queued.id, begun.id}
    _, answer, repeated = await world.place("begun")  # whoever repeats the request does not wait for the hour either
    assert (answer["status"], repeated) == (202, True)
    world.payment.down = False
    await world.recover()
    assert {o.state for o in await world.all()} == {State.CONFIRMED}
    await world.check_invariants()


def _columns_of(order: Order) -> dict[str, Any]:
    names = ("fingerprint", "customer", "currency", "total_amount", "items", "card_last4", "sealed_card")
    return {name: getattr(order, name) for name in names}


async def test_cancelling_a_confirmed_order_refunds_it_and_returns_the_stock(world: World) -> None:
    order, _, _ = await world.place()
    cancelled = await world.checkout.cancel(order, "cancelled by the customer")
    assert cancelled.state is State.CANCELLED
    assert (world.payment.net(order.id), world.inventory.free["mug"]) == (0, 5)
    await world.check_invariants()


async def test_a_compensation_that_fails_is_tried_again_until_it_is_done(world: World) -> None:
    order, _, _ = await world.place()
    world.payment.down = True
    assert (await world.checkout.cancel(order, "cancelled by the customer")).state is State.CANCELLING
    for _ in range(5):
        world.clock.seconds += 10
        await world.recovery.sweep()
    world.payment.down = False
    await world.recover()
    assert [o.state for o in await world.all()] == [State.CANCELLED]
    await world.check_invariants()


async def test_a_settlement_heard_twice_changes_nothing(world: World) -> None:
    world.payment.down = True
    order, _, _ = await world.place()
    world.payment.down = False
    await world.recover()
    confirmed = await world.orders.get(order.id)
    assert await world.checkout.settle(confirmed, captured(order.id)) is confirmed


async def test_of_two_workers_on_one_order_the_slower_one_stops(world: World) -> None:
    world.payment.down = True
    order, _, _ = await world.place()
    await world.orders.claim(order)
    with pytest.raises(Superseded):
        await world.checkout.settle(order, captured(order.id))


async def test_a_transition_that_the_machine_does_not_have_is_refused(world: World) -> None:
    order, _, _ = await world.place()
    with pytest.raises(IllegalTransition):
        await world.orders.advance(order, State.RESERVING, "backwards")


def test_final_states_lead_nowhere_but_a_confirmed_order_may_be_cancelled() -> None:
    assert {state for state, after in NEXT.items() if not after} == FINAL - {State.CONFIRMED}


Story = Callable[[World], Awaitable[None]]


async def _all_well(world: World) -> None:
    await world.place()


async def _declined(world: World) -> None:
    world.payment.declines = True
    await world.place()


async def _queued(world: World) -> None:
    world.payment.loses_answers = True
    await world.place()
    await world.deliver()


async def _hold_expired(world: World) -> None:
    world.payment.down = True
    order, _, _ = await world.place()
    world.payment.down = False
    world.inventory.expire(order.id)
    await world.deliver()


async def _cancelled(world: World) -> None:
    order, _, _ = await world.place()
    await world.checkout.cancel(order, "cancelled by the customer")


@pytest.mark.parametrize(
    "story", [_all_well, _declined, _queued, _hold_expired, _cancelled], ids=lambda s: s.__name__[1:]
)
async def test_an_order_killed_at_any_point_ends_with_money_and_stock_in_agreement(
    story: Story, database_url: str
) -> None:
    point = 0
    while True:
        point += 1
        world = World(database_url)
        await world.start()
        await world.wipe()
        await world.start(Fuse(point))
        killed = False
        try:
            await story(world)
        except Killed:
            killed = True
        world.payment.down = world.payment.loses_answers = False
        await world.start()
        await world.recover()
        await world.check_invariants()
        await world.close()
        if not killed:
            break
    assert point > 8, "the fuse must have burnt at many points"


async def test_only_the_first_order_compiles_statements(world: World) -> None:
    await world.place("first")
    with compiled_statements() as compiled:
        order, _, _ = await world.place("second")
        assert order.state is State.CONFIRMED
        assert compiled() == 0
