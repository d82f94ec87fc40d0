"""One charge a key: what a caller gets, and what is left behind, when calls repeat, fail, contradict and overlap."""

import asyncio

import pytest

from services.payment.card_network import NetworkUnavailable
from services.payment.payments import PaymentConflict
from services.payment.records import State
from shared.chassis.database import Database
from tests.fixtures.statements import compiled_statements
from tests.integration.payment.till import (
    BROKEN,
    GOOD,
    LOSES_ANSWERS,
    LOSES_REQUESTS,
    POOR,
    RELIABLE,
    Till,
    audit,
    charge,
    ledger_kinds,
    make_till,
    network_memory,
    states,
)


async def test_a_good_card_is_captured_and_entered_once(till: Till) -> None:
    payment = await till.payments.process(charge())

    assert (payment.state, payment.amount, payment.currency, payment.card_last4) == (
        State.CAPTURED,
        1299,
        "EUR",
        "4242",
    )
    assert await ledger_kinds(till.database, payment.transaction_id) == ["capture"]
    await audit(till.database)


async def test_a_repeated_charge_gets_the_same_answer_and_moves_no_more_money(till: Till) -> None:
    first = await till.payments.process(charge())

    assert await till.payments.process(charge()) == first
    assert await ledger_kinds(till.database, first.transaction_id) == ["capture"]
    assert till.count("payments_total", outcome="captured") == 1
    assert till.count("payments_total", outcome="repeated") == 1
    assert till.count("payment_amount_minor_total", currency="EUR") == 1299


async def test_a_declined_card_is_declined_for_good_even_when_a_better_one_follows(till: Till) -> None:
    first = await till.payments.process(charge(card=POOR))
    second = await till.payments.process(charge(card=GOOD))

    assert (first.state, first.decline_code) == (State.DECLINED, "insufficient_funds")
    assert second == first
    assert await network_memory(till.database) == {"order-1": ("DECLINED", 0, 0)}
    await audit(till.database)


@pytest.mark.parametrize(("amount", "currency"), [(1300, "EUR"), (1299, "USD")])
async def test_the_same_key_with_another_amount_or_currency_is_a_conflict(
    till: Till, amount: int, currency: str
) -> None:
    await till.payments.process(charge())

    with pytest.raises(PaymentConflict):
        await till.payments.process(charge(amount=amount, currency=currency))
    assert till.count("payments_total", outcome="conflict") == 1
    await audit(till.database)


async def test_a_card_that_breaks_the_network_leaves_the_payment_open(till: Till) -> None:
    with pytest.raises(NetworkUnavailable):
        await till.payments.process(charge(card=BROKEN))

    assert await states(till.database) == {"order-1": "PROCESSING"}
    assert await network_memory(till.database) == {}
    assert till.count("payments_total", outcome="unavailable") == 1


async def test_a_charge_whose_request_was_lost_is_made_by_the_next_attempt(till: Till) -> None:
    till.switch.switch(LOSES_REQUESTS)
    with pytest.raises(NetworkUnavailable):
        await till.payments.process(charge())
    assert await network_memory(till.database) == {}

    till.switch.switch(RELIABLE)
    assert (await till.payments.process(charge())).state is State.CAPTURED
    await audit(till.database)


async def test_a_charge_whose_answer_was_lost_is_found_by_the_next_attempt(till: Till) -> None:
    till.switch.switch(LOSES_ANSWERS)
    with pytest.raises(NetworkUnavailable):
        await till.payments.process(charge())
    assert await network_memory(till.database) == {"order-1": ("CAPTURED", 1299, 0)}

    till.switch.switch(RELIABLE)
    assert (await till.payments.process(charge())).state is State.CAPTURED
    assert await network_memory(till.database) == {"order-1": ("CAPTURED", 1299, 0)}
    await audit(till.database)


async def test_the_card_that_was_charged_is_the_one_that_is_shown(till: Till) -> None:
    till.switch.switch(LOSES_REQUESTS)
    with pytest.raises(NetworkUnavailable):
        await till.payments.process(charge(card=POOR))

    till.switch.switch(RELIABLE)
    assert (await till.payments.process(charge(card=GOOD))).card_last4 == "4242"


async def test_a_payment_is_found_by_key_and_by_transaction(till: Till) -> None:
    payment = await till.payments.process(charge())

    assert await till.payments.by_key("order-1") == payment
    assert await till.payments.by_transaction(payment.transaction_id) == payment
    assert await till.payments.by_key("order-2") is None


async def test_a_hundred_calls_at_once_with_one_key_are_one_charge_and_one_answer(database: Database) -> None:
    replicas = [make_till(database) for _ in range(2)]

    answers = await asyncio.gather(*(replicas[i % 2].payments.process(charge()) for i in range(100)))

    assert len(set(answers)) == 1
    assert await network_memory(database) == {"order-1": ("CAPTURED", 1299, 0)}
    assert await ledger_kinds(database, answers[0].transaction_id) == ["capture"]
    assert sum(replica.count("payments_total", outcome="captured") for replica in replicas) == 1
    await audit(database)


async def test_charges_and_refunds_of_one_key_at_once_end_with_no_money_moved(database: Database) -> None:
    replicas = [make_till(database) for _ in range(2)]
    calls = [replicas[i % 2].payments.process(charge()) for i in range(30)]
    calls[10:10] = [replicas[i % 2].payments.refund("order-1", "changed my mind") for i in range(10)]

    answers = await asyncio.gather(*calls)

    assert {answer.transaction_id for answer in answers} == {answers[0].transaction_id}
    assert (await replicas[0].payments.refund("order-1", "again")).state in {State.REFUNDED, State.VOIDED}
    _, captured, refunded = (await network_memory(database))["order-1"]
    assert captured == refunded
    await audit(database)


async def test_only_the_first_charge_and_refund_compile_statements(till: Till) -> None:
    await till.payments.process(charge("order-1"))
    await till.payments.refund("order-1", "late")
    with compiled_statements() as compiled:
        await till.payments.process(charge("order-2"))
        await till.payments.refund("order-2", "late")
        assert compiled() == 0


async def test_a_till_that_forgets_its_keys_charges_a_repeated_payment_twice(till: Till) -> None:
    forgetful = make_till(till.database, LOSES_ANSWERS, forgets=lambda: True)
    with pytest.raises(NetworkUnavailable):
        await forgetful.payments.process(charge())
    forgetful.switch.switch(RELIABLE)
    payment = await forgetful.payments.process(charge())
    memory = await network_memory(till.database)
    assert payment.state is State.CAPTURED
    assert [(captured, refunded) for _, captured, refunded in memory.values()] == [(1299, 0), (1299, 0)]
    assert [key.partition("~")[0] for key in memory] == ["order-1", "order-1"]
