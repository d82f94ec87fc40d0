"""What each user of the broker may do, tried on the broker that the stack runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import nats
import pytest
from nats.aio.client import Client
from nats.errors import Error, NoServersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import RetentionPolicy

from infra.local.harness import running_stack
from infra.local.settings import SERVICES
from infra.local.stack import LocalStack

NOBODY = {f"replicas_{service.key}": 0 for service in SERVICES}

Connect = Callable[[str], Awaitable[Client]]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with running_stack(tmp_path_factory.mktemp("broker") / ".local", **NOBODY) as running:
        yield running


@pytest.fixture
async def connect(stack: LocalStack) -> AsyncIterator[Connect]:
    """Connects as a user; the client keeps the server's refusals in `refusals`."""
    clients: list[Client] = []

    async def connected(user: str) -> Client:
        refusals: asyncio.Queue[str] = asyncio.Queue()

        async def refused(error: Exception) -> None:
            refusals.put_nowait(str(error))

        password = stack.secret(user, "nats_password")
        client = await nats.connect(stack.url("nats"), user=user, password=password, error_cb=refused)
        client.refusals = refusals
        clients.append(client)
        return client

    yield connected
    for client in clients:
        await client.close()


async def refusal(client: Client) -> str:
    async with asyncio.timeout(30):
        return str(await client.refusals.get())


async def make_streams(client: Client) -> None:
    jetstream = client.jetstream(timeout=30)
    await jetstream.add_stream(name="PAYMENTS", subjects=["payments.>"], retention=RetentionPolicy.WORK_QUEUE)
    await jetstream.add_stream(name="DEAD_LETTERS", subjects=["dead.>"])


async def test_a_request_goes_from_order_to_payment_and_its_settlement_back(connect: Connect) -> None:
    order, payment = await connect("order"), await connect("payment")
    await make_streams(order)
    await order.jetstream().publish("payments.requested", b"charge")
    worker = await payment.jetstream().pull_subscribe("payments.requested", durable="payment", stream="PAYMENTS")
    (request,) = await worker.fetch(1, timeout=30)
    await request.ack_sync(timeout=30)
    await payment.jetstream().publish("payments.settled", b"paid")
    listener = await order.jetstream().pull_subscribe("payments.settled", durable="order", stream="PAYMENTS")
    (settlement,) = await listener.fetch(1, timeout=30)
    await settlement.ack_sync(timeout=30)
    await payment.jetstream().publish("dead.payments.requested", b"given up")
    assert (request.data, settlement.data) == (b"charge", b"paid")
    assert order.refusals.empty()
    assert payment.refusals.empty()


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("order", "payments.settled"),
        ("payment", "payments.requested"),
        ("inventory", "payments.requested"),
        ("inventory", "dead.anything"),
        ("order", "anything.else"),
    ],
)
async def test_nobody_publishes_what_is_not_theirs_to_say(connect: Connect, user: str, subject: str) -> None:
    client = await connect(user)
    await client.publish(subject, b"forged")
    await client.flush(30)
    assert "permissions violation" in (await refusal(client)).lower()


async def test_nobody_listens_to_everything(connect: Connect) -> None:
    client = await connect("inventory")
    await client.subscribe(">")
    await client.flush(30)
    assert "permissions violation" in (await refusal(client)).lower()


@pytest.mark.parametrize("user", ["order", "payment", "inventory"])
async def test_every_service_shares_state_in_a_bucket_and_watches_it(connect: Connect, user: str) -> None:
    client = await connect(user)
    bucket = await client.jetstream(timeout=30).create_key_value(bucket="breakers", ttl=60)
    await bucket.put(f"{user}.gateway", b"open")
    assert (await bucket.get(f"{user}.gateway")).value == b"open"
    watcher = await bucket.watch(f"{user}.*")
    seen = await watcher.updates(timeout=30)
    assert seen is not None
    assert seen.value == b"open"
    await watcher.stop()
    await bucket.delete(f"{user}.gateway")
    assert client.refusals.empty()


async def test_a_service_cannot_delete_or_empty_a_stream_and_the_operator_can(connect: Connect) -> None:
    order, operator = await connect("order"), await connect("operator")
    await order.jetstream(timeout=30).add_stream(name="DEAD_LETTERS", subjects=["dead.>"])
    for attempt in (order.jetstream(timeout=0.5).delete_stream, order.jetstream(timeout=0.5).purge_stream):
        with pytest.raises((NatsTimeoutError, Error)):
            await attempt("DEAD_LETTERS")
        assert "permissions violation" in (await refusal(order)).lower()
    assert await operator.jetstream(timeout=30).delete_stream("DEAD_LETTERS")


async def test_without_a_password_nobody_gets_in(stack: LocalStack) -> None:
    with pytest.raises((Error, NoServersError)):
        await nats.connect(stack.url("nats"), allow_reconnect=False, connect_timeout=2, max_reconnect_attempts=0)
