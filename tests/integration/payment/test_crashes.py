"""Whatever a process is killed at, or a call cancelled at, the same call again finishes it: no money twice, none lost.

The steps are those between which state can be lost: before each transaction, before its commit, after it, and while
the call to the card network travels in either direction.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from services.payment.behaviour import Behaviour
from services.payment.records import Payment, State
from shared.chassis.migrations import migrate
from tests.integration.payment.fuse import WORKING, Fuse, FusedDatabase, Killed, cancel, kill
from tests.integration.payment.till import (
    GOOD,
    MIGRATIONS,
    POOR,
    Till,
    audit,
    charge,
    ledger_kinds,
    make_till,
    network_memory,
)

STEPS_OF_A_CALL = 11  # three transactions of three steps each, and the two ways of the network
SLOW = Behaviour(latency_median_ms=1, latency_p99_ms=1)

Operation = Callable[[], Awaitable[Payment]]


@pytest.fixture(params=[kill, cancel])
def fuse(request: pytest.FixtureRequest) -> Fuse:
    return Fuse(request.param)


@pytest.fixture
async def till(database_url: str, fuse: Fuse) -> AsyncIterator[Till]:
    database = FusedDatabase(database_url, synchronous="normal")
    database.fuse = fuse
    await migrate(database, MIGRATIONS)
    yield make_till(database, SLOW, sleep=fuse.sleep)
    await database.close()


async def break_off(fuse: Fuse, steps: int, operation: Operation) -> bool:
    """Run an operation that ends at its `steps`-th step; whether it came that far."""
    fuse.set(steps)

    async def working() -> Payment:
        WORKING.set(asyncio.current_task())
        return await operation()

    task = asyncio.ensure_future(working())
    done, _ = await asyncio.wait({task}, timeout=30)
    assert done, "the operation hangs after it was broken off"
    blown = fuse.blown
    fuse.set(0)
    if not task.cancelled():
        error = task.exception()
        assert error is None or isinstance(error, Killed)
    return blown


async def test_the_steps_of_a_call_are_those_that_these_tests_break_off_at(till: Till, fuse: Fuse) -> None:
    assert await break_off(fuse, STEPS_OF_A_CALL, lambda: till.payments.process(charge("order-1")))
    assert not await break_off(fuse, STEPS_OF_A_CALL + 1, lambda: till.payments.process(charge("order-2")))
    assert await break_off(fuse, STEPS_OF_A_CALL, lambda: till.payments.refund("order-2", "late"))
    assert not await break_off(fuse, STEPS_OF_A_CALL + 1, lambda: till.payments.refund("order-3", "late"))


@pytest.mark.parametrize(("card", "state"), [(GOOD, State.CAPTURED), (POOR, State.DECLINED)])
async def test_a_charge_broken_off_anywhere_is_finished_by_the_same_call(
    till: Till, fuse: Fuse, card, state: State
) -> None:
    for steps in range(1, STEPS_OF_A_CALL + 1):
        order = charge(f"order-{steps}", card=card)
        assert await break_off(fuse, steps, lambda order=order: till.payments.process(order))

        again = await till.payments.process(order)
        assert again.state is state
        assert await till.payments.process(order) == again
    await audit(till.database)


async def test_a_charge_broken_off_twice_is_finished_by_the_third_call(till: Till, fuse: Fuse) -> None:
    for first in range(1, STEPS_OF_A_CALL + 1):
        for second in range(1, STEPS_OF_A_CALL + 1, 2):
            order = charge(f"order-{first}-{second}")
            await break_off(fuse, first, lambda order=order: till.payments.process(order))
            await break_off(fuse, second, lambda order=order: till.payments.process(order))

            assert (await till.payments.process(order)).state is State.CAPTURED
    await audit(till.database)


async def test_a_refund_broken_off_anywhere_is_finished_by_the_same_call(till: Till, fuse: Fuse) -> None:
    for steps in range(1, STEPS_OF_A_CALL + 1):
        key = f"order-{steps}"
        captured = await till.payments.process(charge(key))
        assert await break_off(fuse, steps, lambda key=key: till.payments.refund(key, "late"))

        again = await till.payments.refund(key, "late")
        assert (again.state, again.refunded_amount) == (State.REFUNDED, 1299)
        assert await ledger_kinds(till.database, captured.transaction_id) == ["capture", "refund"]
    await audit(till.database)


async def test_a_tombstone_broken_off_anywhere_still_refuses_the_late_charge(till: Till, fuse: Fuse) -> None:
    for steps in range(2, STEPS_OF_A_CALL + 1):
        key = f"order-{steps}"
        assert await break_off(fuse, steps, lambda key=key: till.payments.refund(key, "cancelled"))
        assert (await till.payments.refund(key, "cancelled")).state is State.VOIDED

        assert (await till.payments.process(charge(key))).state is State.VOIDED
    assert {state for state, _, _ in (await network_memory(till.database)).values()} == {"VOIDED"}
    await audit(till.database)


async def test_a_charge_and_its_refund_both_broken_off_anywhere_end_with_no_money_moved(till: Till, fuse: Fuse) -> None:
    for first in range(1, STEPS_OF_A_CALL + 1):
        for second in range(1, STEPS_OF_A_CALL + 1):
            order = charge(f"order-{first}-{second}")
            await break_off(fuse, first, lambda order=order: till.payments.process(order))
            await break_off(fuse, second, lambda order=order: till.payments.refund(order.payment_key, "late"))

            ended = await till.payments.refund(order.payment_key, "late")
            assert ended.state in {State.REFUNDED, State.VOIDED}
            assert (await till.payments.process(order)) == ended
    memory = await network_memory(till.database)
    assert all(captured == refunded for _, captured, refunded in memory.values())
    assert {state for state, _, _ in memory.values()} == {"REFUNDED", "VOIDED"}
    await audit(till.database)
