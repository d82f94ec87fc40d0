"""Giving back: all that was charged, once, and whatever the charge had come to."""

import pytest

from services.payment.card_network import NetworkState, NetworkUnavailable
from services.payment.records import State
from tests.integration.payment.till import (
    GOOD,
    LOSES_ANSWERS,
    LOSES_REQUESTS,
    POOR,
    RELIABLE,
    Till,
    audit,
    charge,
    ledger_kinds,
    network_memory,
    states,
)


async def test_a_captured_payment_is_given_back_in_full_and_the_entry_reversed(till: Till) -> None:
    captured = await till.payments.process(charge())
    refunded = await till.payments.refund("order-1", "late")

    assert (refunded.state, refunded.refunded_amount) == (State.REFUNDED, 1299)
    assert refunded.transaction_id == captured.transaction_id
    assert await ledger_kinds(till.database, captured.transaction_id) == ["capture", "refund"]
    await audit(till.database)


async def test_a_repeated_refund_gets_the_same_answer_and_moves_no_more_money(till: Till) -> None:
    await till.payments.process(charge())
    first = await till.payments.refund("order-1", "late")

    assert await till.payments.refund("order-1", "late, as I said") == first
    assert await ledger_kinds(till.database, first.transaction_id) == ["capture", "refund"]
    assert till.count("refunds_total", outcome="refunded") == 1
    assert till.count("refunds_total", outcome="repeated") == 1


async def test_a_refund_of_an_unknown_key_refuses_the_charge_that_comes_late(till: Till) -> None:
    voided = await till.payments.refund("order-1", "cancelled")
    late = await till.payments.process(charge())

    assert (voided.state, voided.refunded_amount, voided.amount) == (State.VOIDED, 0, None)
    assert late == voided
    assert await network_memory(till.database) == {"order-1": ("VOIDED", 0, 0)}
    await audit(till.database)


async def test_a_charge_after_a_refund_is_voided(till: Till) -> None:
    await till.payments.process(charge())
    refunded = await till.payments.refund("order-1", "late")

    assert await till.payments.process(charge()) == refunded
    await audit(till.database)


async def test_a_declined_payment_stays_declined_when_it_is_refunded(till: Till) -> None:
    declined = await till.payments.process(charge(card=POOR))

    assert await till.payments.refund("order-1", "cancelled") == declined
    assert (await till.payments.process(charge(card=POOR))).state is State.DECLINED
    await audit(till.database)


async def test_a_capture_whose_answer_was_lost_is_entered_and_reversed_by_the_refund(till: Till) -> None:
    till.switch.switch(LOSES_ANSWERS)
    with pytest.raises(NetworkUnavailable):
        await till.payments.process(charge())

    till.switch.switch(RELIABLE)
    refunded = await till.payments.refund("order-1", "late")
    assert (refunded.state, refunded.refunded_amount) == (State.REFUNDED, 1299)
    assert await ledger_kinds(till.database, refunded.transaction_id) == ["capture", "refund"]
    await audit(till.database)


async def test_a_decline_whose_answer_was_lost_is_voided_by_the_refund(till: Till) -> None:
    till.switch.switch(LOSES_ANSWERS)
    with pytest.raises(NetworkUnavailable):
        await till.payments.process(charge(card=POOR))

    till.switch.switch(RELIABLE)
    assert (await till.payments.refund("order-1", "late")).state is State.VOIDED
    await audit(till.database)


@pytest.mark.parametrize("behaviour", [LOSES_REQUESTS, LOSES_ANSWERS])
async def test_a_refund_that_was_lost_is_finished_by_the_next_attempt(till: Till, behaviour) -> None:
    captured = await till.payments.process(charge())
    till.switch.switch(behaviour)
    with pytest.raises(NetworkUnavailable):
        await till.payments.refund("order-1", "late")
    assert await states(till.database) == {"order-1": "REFUNDING"}
    assert till.count("refunds_total", outcome="unavailable") == 1

    till.switch.switch(RELIABLE)
    assert (await till.payments.refund("order-1", "late")).state is State.REFUNDED
    assert await ledger_kinds(till.database, captured.transaction_id) == ["capture", "refund"]
    await audit(till.database)


async def test_a_charge_while_a_refund_is_under_way_is_voided(till: Till) -> None:
    await till.payments.process(charge())
    till.switch.switch(LOSES_REQUESTS)
    with pytest.raises(NetworkUnavailable):
        await till.payments.refund("order-1", "late")

    till.switch.switch(RELIABLE)
    assert (await till.payments.process(charge())).state is State.REFUNDING


async def test_the_network_itself_refuses_a_charge_that_arrives_after_the_refund(till: Till) -> None:
    await till.network.refund("order-1")
    late = await till.network.charge("order-1", 1299, "EUR", GOOD)

    assert (late.state, late.captured_amount) == (NetworkState.VOIDED, 0)


async def test_the_network_answers_the_first_charge_of_a_key_to_every_later_one(till: Till) -> None:
    first = await till.network.charge("order-1", 1299, "EUR", GOOD)

    assert await till.network.charge("order-1", 5, "USD", POOR) == first


async def test_what_is_decided_is_answered_without_the_network(till: Till) -> None:
    await till.payments.process(charge("captured"))
    await till.payments.process(charge("declined", card=POOR))
    await till.payments.process(charge("refunded"))
    await till.payments.refund("refunded", "late")
    await till.payments.refund("voided", "cancelled")
    till.switch.switch(LOSES_REQUESTS)

    for key in ("captured", "declined", "refunded", "voided"):
        assert (await till.payments.process(charge(key))).state.lower() == key
    for key in ("declined", "refunded", "voided"):
        assert (await till.payments.refund(key, "again")).state.lower() == key
