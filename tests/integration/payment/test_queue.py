"""The service on a real broker: what is queued is settled, told of once, and buried when it cannot be."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from shared.messaging import DEAD_LETTERS, PAYMENTS, Broker, Message, Worker
from tests.fixtures.nats import NatsServer
from tests.integration.payment.counter import Counter, make_settings, open_counter, order
from tests.integration.payment.waiting import until

FAST = {"worker_first_wait_seconds": 0.05, "worker_max_wait_seconds": 0.1, "worker_max_deliveries": 3}

Mailbox = asyncio.Queue[Message]
Listen = Callable[[str, str], AbstractAsyncContextManager[Mailbox]]


@pytest.fixture
async def orders(nats_server: NatsServer) -> AsyncIterator[Broker]:
    """The order service's end of the broker."""
    broker = Broker(nats_server.url, name="order-test")
    await broker.start()
    await broker.wait_connected()
    yield broker
    await broker.stop()


@pytest.fixture
def listen(orders: Broker) -> Listen:
    """Collects what arrives on a subject."""

    @asynccontextmanager
    async def listening(stream: str, subject: str) -> AsyncIterator[Mailbox]:
        mailbox = Mailbox()
        worker = Worker(orders, stream=stream, durable="test", subject=subject, handler=mailbox.put)
        task = asyncio.create_task(worker.run())
        yield mailbox
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    return listening


@pytest.fixture
async def counter(nats_server: NatsServer, database_url: str) -> AsyncIterator[Counter]:
    async with open_counter(make_settings(database_url, nats_url=nats_server.url, **FAST)) as counter:
        yield counter


async def next_of(mailbox: Mailbox) -> Message:
    async with asyncio.timeout(45):
        return await mailbox.get()


async def has_counted(counter: Counter, name: str, **labels: str) -> bool:
    return counter.count(name, **labels) > 0


async def test_queued_payments_are_settled_and_told_of(counter: Counter, orders: Broker, listen: Listen) -> None:
    await counter.orders.post("/refund", json={"payment_key": "order-3", "reason": "cancelled"})
    cards = {"order-1": "4242424242424242", "order-2": "4000000000009995", "order-3": "4242424242424242"}
    async with listen(PAYMENTS, "payments.settled") as settled:
        for key, number in cards.items():
            await orders.publish("payments.requested", order(key, number), message_id=f"requested-{key}")
        told = [(await next_of(settled)).body for _ in cards]

    assert {body["payment_key"]: (body["status"], body["decline_code"]) for body in told} == {
        "order-1": ("CAPTURED", None),
        "order-2": ("DECLINED", "insufficient_funds"),
        "order-3": ("VOIDED", None),
    }
    for body in told:
        shown = (await counter.orders.get(f"/payments/{body['payment_key']}")).json()
        assert (shown["transaction_id"], shown["status"]) == (body["transaction_id"], body["status"])


async def test_a_message_sent_twice_is_told_of_once(counter: Counter, orders: Broker, listen: Listen) -> None:
    async with listen(PAYMENTS, "payments.settled") as settled:
        for attempt in range(2):
            await orders.publish("payments.requested", order(), message_id=f"attempt-{attempt}")
        await until(lambda: has_counted(counter, "payments_total", outcome="repeated"))
        await orders.publish("payments.requested", order("order-2"), message_id="order-2")
        keys = {(await next_of(settled)).body["payment_key"] for _ in range(2)}

        assert keys == {"order-1", "order-2"}
        assert settled.empty()
    assert counter.count("payments_total", outcome="captured") == 2


async def test_a_message_that_can_never_succeed_is_a_dead_letter(
    counter: Counter, orders: Broker, listen: Listen
) -> None:
    async with listen(DEAD_LETTERS, "dead.payments.requested") as dead:
        await orders.publish("payments.requested", order(amount=-1), message_id="bad")
        letter = await next_of(dead)

    assert letter.body["payment_key"] == "order-1"
    assert any("amount" in value for value in letter.headers.values())
    assert (await counter.orders.get("/payments/order-1")).status_code == 404


async def test_a_payment_outlasts_a_network_that_is_away_for_a_while(
    counter: Counter, orders: Broker, listen: Listen
) -> None:
    await counter.operator.put("/admin/card-network", json={"lost_answers": 1.0})
    async with listen(PAYMENTS, "payments.settled") as settled:
        await orders.publish("payments.requested", order(), message_id="requested")
        await until(lambda: has_counted(counter, "card_network_calls_total", outcome="unavailable"))
        await counter.operator.put("/admin/card-network", json={})
        body = (await next_of(settled)).body

    assert body["status"] == "CAPTURED"
    assert counter.count("payments_total", outcome="captured") == 1


async def test_a_broker_that_is_away_leaves_the_service_ready(
    counter: Counter, nats_server: NatsServer, orders: Broker
) -> None:
    nats_server.kill()

    async def noticed() -> bool:
        answer = await counter.stranger.get("/health/ready")
        return answer.json()["dependencies"]["nats"]["status"] == "down"

    await until(noticed)
    answer = await counter.stranger.get("/health/ready")
    assert answer.status_code == 200
    assert (await counter.orders.post("/process", json=order())).status_code == 200
