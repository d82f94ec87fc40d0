"""Messages of `payments.requested`: what each kind comes to, without a broker."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from services.payment.card_network import NetworkUnavailable
from services.payment.queue_worker import QueueWorker
from services.payment.sealing import CardOpener
from shared.messaging import BrokerUnavailable, Message, Reject
from tests.integration.payment.counter import SEALING_KEY, encode, order, seal
from tests.integration.payment.till import LOSES_ANSWERS, RELIABLE, Till, audit, charge, network_memory


class RecordingPublisher:
    """Keeps what it is given; refuses it while `away`."""

    def __init__(self) -> None:
        self.away = False
        self.published: list[tuple[str, dict[str, Any], str]] = []

    async def publish(
        self, subject: str, body: Mapping[str, Any], *, message_id: str, headers: Mapping[str, str] | None = None
    ) -> None:
        if self.away:
            raise BrokerUnavailable("away")
        self.published.append((subject, dict(body), message_id))


def message(body: dict[str, Any]) -> Message:
    return Message(body, {}, "payments.requested", 1)


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
def queue(till: Till, publisher: RecordingPublisher) -> QueueWorker:
    return QueueWorker(till.payments, CardOpener(SecretStr(encode(bytes(SEALING_KEY)))), publisher)


async def test_a_queued_payment_is_captured_and_told_of(
    till: Till, queue: QueueWorker, publisher: RecordingPublisher
) -> None:
    await queue.handle(message(order()))

    payment = await till.payments.by_key("order-1")
    body = {
        "payment_key": "order-1",
        "transaction_id": payment.transaction_id,
        "status": "CAPTURED",
        "decline_code": None,
    }
    assert publisher.published == [("payments.settled", body, "settled-order-1-CAPTURED")]
    await audit(till.database)


async def test_a_declined_payment_is_an_outcome_and_told_of(queue: QueueWorker, publisher: RecordingPublisher) -> None:
    await queue.handle(message(order(number="4000000000000069")))

    [(_, body, message_id)] = publisher.published
    assert (body["status"], body["decline_code"], message_id) == (
        "DECLINED",
        "expired_card",
        "settled-order-1-DECLINED",
    )


async def test_a_payment_refunded_before_is_told_of_as_voided(
    till: Till, queue: QueueWorker, publisher: RecordingPublisher
) -> None:
    await till.payments.process(charge())
    await till.payments.refund("order-1", "late")
    await queue.handle(message(order()))

    [(_, body, message_id)] = publisher.published
    assert (body["status"], body["decline_code"], message_id) == ("VOIDED", None, "settled-order-1-VOIDED")


async def test_a_message_that_comes_twice_is_one_charge_told_of_under_one_id(
    till: Till, queue: QueueWorker, publisher: RecordingPublisher
) -> None:
    await queue.handle(message(order()))
    await queue.handle(message(order()))

    assert publisher.published[0] == publisher.published[1]
    assert await network_memory(till.database) == {"order-1": ("CAPTURED", 1299, 0)}


async def test_a_silent_network_makes_the_message_come_again(
    till: Till, queue: QueueWorker, publisher: RecordingPublisher
) -> None:
    till.switch.switch(LOSES_ANSWERS)
    with pytest.raises(NetworkUnavailable):
        await queue.handle(message(order()))
    assert publisher.published == []

    till.switch.switch(RELIABLE)
    await queue.handle(message(order()))
    assert [body["status"] for _, body, _ in publisher.published] == ["CAPTURED"]


async def test_a_result_that_could_not_be_told_is_told_at_the_next_delivery(
    till: Till, queue: QueueWorker, publisher: RecordingPublisher
) -> None:
    publisher.away = True
    with pytest.raises(BrokerUnavailable):
        await queue.handle(message(order()))

    publisher.away = False
    await queue.handle(message(order()))
    assert [body["status"] for _, body, _ in publisher.published] == ["CAPTURED"]
    assert await network_memory(till.database) == {"order-1": ("CAPTURED", 1299, 0)}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "payment_key"),
        (order(amount=0), "amount"),
        (order(amount="1299"), "amount"),
        (order(currency="XXX"), "currency"),
        (order(customer="a\x00"), "customer"),
        (order(tip=1), "tip"),
        (order(sealed_card="AAAA"), "sealed_card"),
        (order(sealed_card=seal({"number": "42"})), "sealed_card"),
    ],
)
async def test_a_message_that_can_never_succeed_is_rejected_with_the_reason(
    till: Till, queue: QueueWorker, publisher: RecordingPublisher, body: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Reject, match=reason):
        await queue.handle(message(body))
    assert publisher.published == []
    assert await network_memory(till.database) == {}


async def test_a_message_that_contradicts_its_payment_is_rejected(till: Till, queue: QueueWorker) -> None:
    await till.payments.process(charge(amount=5))

    with pytest.raises(Reject, match="payment-conflict"):
        await queue.handle(message(order()))
