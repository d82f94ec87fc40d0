"""Workers against a real NATS server: at least once, with patience, and nothing lost without a word."""

import asyncio
from datetime import UTC, datetime
from time import monotonic

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client import CollectorRegistry

from shared.messaging import (
    DEAD_LETTERS,
    PAYMENTS,
    Broker,
    BrokerUnavailable,
    DeadLetters,
    Message,
    RedeliveryPolicy,
    Reject,
)
from shared.messaging.pull import Pull
from tests.fixtures.nats import NatsServer
from tests.integration.messaging.conftest import Connect, Run, eventually, payments

QUICK = RedeliveryPolicy(max_deliveries=5, first_wait=0.1, multiplier=2.0, max_wait=0.3, ack_wait=5.0)


class Recorder:
    """A handler that keeps what it got and raises what it is told, delivery by delivery."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.times: list[float] = []

    async def __call__(self, message: Message) -> None:
        self.times.append(monotonic())
        self.messages.put_nowait(message)
        if self._errors:
            raise self._errors.pop(0)

    async def next(self, seconds: float = 45.0) -> Message:
        async with asyncio.timeout(seconds):
            return await self.messages.get()


class SetClock:
    def now(self) -> float:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()


async def in_stream(broker: Broker, stream: str = PAYMENTS) -> int:
    return (await (await broker.link()).jetstream.stream_info(stream)).state.messages


async def settled(broker: Broker) -> bool:
    return await in_stream(broker) == 0


async def test_a_handled_message_is_acknowledged_and_leaves_the_stream(
    nats_server: NatsServer, connect: Connect, run: Run
) -> None:
    broker, handler, registry = await connect(nats_server.url), Recorder(), CollectorRegistry()
    run(payments(broker, handler, registry=registry).run())

    await broker.publish("payments.requested", {"amount": 1299}, message_id="m-1", headers={"x-shop": "berlin"})

    message = await handler.next()
    assert (message.body, message.subject, message.deliveries) == ({"amount": 1299}, "payments.requested", 1)
    assert message.headers["x-shop"] == "berlin"
    await eventually(lambda: settled(broker))
    labels = {"subject": "payments.requested", "outcome": "ack"}
    await eventually(lambda: registry.get_sample_value("messages_total", labels) == 1)


async def test_replicas_share_the_messages_and_each_is_handled_once(
    nats_server: NatsServer, connect: Connect, run: Run
) -> None:
    handlers = [Recorder(), Recorder()]
    brokers = [await connect(nats_server.url), await connect(nats_server.url)]
    for broker, handler in zip(brokers, handlers, strict=True):
        run(payments(broker, handler, concurrency=4).run())

    for number in range(60):
        await brokers[0].publish("payments.requested", {"number": number}, message_id=str(number))
    await eventually(lambda: settled(brokers[0]))

    got = [[handler.messages.get_nowait().body["number"] for _ in handler.times] for handler in handlers]
    assert sorted(got[0] + got[1]) == list(range(60))
    assert got[0]
    assert got[1]


async def test_a_failed_message_comes_again_after_growing_waits(
    nats_server: NatsServer, connect: Connect, run: Run
) -> None:
    broker, handler = await connect(nats_server.url), Recorder(*[OSError("network")] * 4)
    run(payments(broker, handler, policy=QUICK).run())

    await broker.publish("payments.requested", {}, message_id="stubborn")

    assert [(await handler.next()).deliveries for _ in range(5)] == [1, 2, 3, 4, 5]
    gaps = [later - earlier for earlier, later in zip(handler.times, handler.times[1:], strict=False)]
    for gap, wait in zip(gaps, [0.1, 0.2, 0.3, 0.3], strict=True):
        assert wait <= gap < wait + 3.0
    await eventually(lambda: settled(broker))


async def test_a_rejected_message_becomes_a_dead_letter_at_once(
    nats_server: NatsServer, connect: Connect, run: Run
) -> None:
    broker, handler, registry = (
        await connect(nats_server.url),
        Recorder(Reject("amount is negative")),
        CollectorRegistry(),
    )
    run(payments(broker, handler, registry=registry, clock=SetClock()).run())

    await broker.publish("payments.requested", {"amount": -1}, message_id="m-1", headers={"x-shop": "berlin"})
    await eventually(lambda: settled(broker))

    (letter,) = await DeadLetters(broker).list()
    assert (letter.subject, letter.reason, letter.deliveries) == ("payments.requested", "amount is negative", 1)
    assert (letter.body, letter.headers, letter.message_id) == ({"amount": -1}, {"x-shop": "berlin"}, "m-1")
    assert (letter.original_sequence, letter.died_at) == (1, "2026-01-02T03:04:05.000+00:00")
    raw = await (await broker.link()).jetstream.get_msg(DEAD_LETTERS, seq=letter.sequence)
    assert raw.subject == "dead.payments.requested"
    assert registry.get_sample_value("messages_total", {"subject": "payments.requested", "outcome": "dead"}) == 1


async def test_a_message_that_fails_as_often_as_allowed_becomes_a_dead_letter(
    nats_server: NatsServer, connect: Connect, run: Run
) -> None:
    broker, handler, registry = (
        await connect(nats_server.url),
        Recorder(*[OSError("no route")] * 9),
        CollectorRegistry(),
    )
    policy = RedeliveryPolicy(max_deliveries=3, first_wait=0.01, max_wait=0.02)
    run(payments(broker, handler, policy=policy, registry=registry).run())

    await broker.publish("payments.requested", {}, message_id="hopeless")
    await eventually(lambda: settled(broker))

    (letter,) = await DeadLetters(broker).list()
    assert letter.deliveries == 3 == len(handler.times)
    assert letter.reason == "failed 3 times, last with OSError: no route"
    assert registry.get_sample_value("messages_total", {"subject": "payments.requested", "outcome": "retry"}) == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"{", "not JSON"), (b"\xff\xfe", "not JSON"), (b"[1]", "not a JSON object but list"), (b"", "not JSON")],
)
async def test_what_is_not_a_json_object_becomes_a_dead_letter_unhandled(
    nats_server: NatsServer, connect: Connect, run: Run, data: bytes, reason: str
) -> None:
    broker, handler = await connect(nats_server.url), Recorder()
    run(payments(broker, handler).run())

    await broker.publish_bytes("payments.requested", data, {"Nats-Msg-Id": "garbled"})
    await eventually(lambda: settled(broker))

    (letter,) = await DeadLetters(broker).list()
    assert letter.reason.startswith(reason)
    assert letter.data == data
    assert not handler.times


async def test_a_message_whose_dead_letter_cannot_be_stored_stays(
    nats_server: NatsServer, connect: Connect, run: Run
) -> None:
    broker, handler = await connect(nats_server.url), Recorder(*[Reject("never")] * 50)
    jetstream = (await broker.link()).jetstream
    await jetstream.delete_stream(DEAD_LETTERS)
    await jetstream.add_stream(name="ELSEWHERE", subjects=["dead.>"], max_msgs=0, max_msg_size=1)

    run(payments(broker, handler, policy=QUICK).run())
    await broker.publish("payments.requested", {}, message_id="stays")
    for _ in range(2):
        await handler.next()
    assert await in_stream(broker) == 1

    await jetstream.delete_stream("ELSEWHERE")
    await eventually(lambda: settled(broker))
    assert [letter.message_id for letter in await DeadLetters(broker).list()] == ["stays"]


async def test_no_more_handlers_run_at_once_than_allowed(nats_server: NatsServer, connect: Connect, run: Run) -> None:
    broker, running, most, release = await connect(nats_server.url), 0, 0, asyncio.Event()

    async def handler(_message: Message) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1

    run(payments(broker, handler, concurrency=3).run())
    for number in range(12):
        await broker.publish("payments.requested", {}, message_id=str(number))
    await eventually(lambda: running == 3)
    info = await (await broker.link()).jetstream.consumer_info(PAYMENTS, "payment")
    assert info.num_ack_pending == 3  # the others wait in the broker, for any replica
    release.set()
    await eventually(lambda: settled(broker))
    assert most == 3


async def test_a_handler_that_takes_longer_than_the_ack_wait_keeps_its_message(
    nats_server: NatsServer, connect: Connect, run: Run
) -> None:
    broker, deliveries = await connect(nats_server.url), []

    async def handler(message: Message) -> None:
        deliveries.append(message.deliveries)
        await asyncio.sleep(2.0)  # four times the ack wait: time itself is what is tested

    run(payments(broker, handler, policy=RedeliveryPolicy(ack_wait=0.5)).run())
    await broker.publish("payments.requested", {}, message_id="slow")
    await eventually(lambda: bool(deliveries))
    await eventually(lambda: settled(broker))
    assert deliveries == [1]


async def test_a_cancelled_worker_hands_its_message_to_another_replica_at_once(
    nats_server: NatsServer, connect: Connect, run: Run
) -> None:
    one, other = await connect(nats_server.url), await connect(nats_server.url)
    begun = asyncio.Event()

    async def stuck(_message: Message) -> None:
        begun.set()
        await asyncio.Event().wait()

    patient = RedeliveryPolicy(ack_wait=60.0)
    first = run(payments(one, stuck, policy=patient, drain_seconds=0.1).run())
    await one.publish("payments.requested", {"amount": 7}, message_id="m-1")
    await begun.wait()

    handler, cancelled = Recorder(), monotonic()
    run(payments(other, handler, policy=patient).run())
    first.cancel()
    message = await handler.next()

    assert (message.body, message.deliveries) == ({"amount": 7}, 2)
    assert monotonic() - cancelled < 45.0
    await asyncio.wait([first], timeout=30)
    assert first.cancelled()


async def test_a_cancelled_worker_lets_a_running_handler_finish(
    nats_server: NatsServer, connect: Connect, run: Run
) -> None:
    broker, begun, release, finished = await connect(nats_server.url), asyncio.Event(), asyncio.Event(), []

    async def handler(message: Message) -> None:
        begun.set()
        await release.wait()
        finished.append(message.deliveries)

    task = run(payments(broker, handler).run())
    await broker.publish("payments.requested", {}, message_id="m-1")
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(task, return_exceptions=True)

    assert finished == [1]
    assert await settled(broker)


async def test_a_worker_started_before_its_broker_works_once_it_is_there(make_nats, connect: Connect, run: Run) -> None:
    server, handler = make_nats(), Recorder()
    broker = await connect(server.url, wait=False)
    run(payments(broker, handler).run())

    await server.start_soon()
    await broker.wait_connected()
    await broker.publish("payments.requested", {"first": True}, message_id="m-1")

    assert (await handler.next()).body == {"first": True}


async def test_nothing_is_lost_when_the_broker_is_killed_in_the_middle(
    nats_server: NatsServer, connect: Connect, run: Run
) -> None:
    publisher, consumer = await connect(nats_server.url), await connect(nats_server.url)
    handled: dict[int, int] = {}
    halfway = asyncio.Event()

    async def handler(message: Message) -> None:
        number = message.body["number"]
        handled[number] = handled.get(number, 0) + 1
        if len(handled) == 100:
            halfway.set()

    run(payments(consumer, handler, policy=RedeliveryPolicy(ack_wait=1.0)).run())

    async def publish_all() -> None:
        for number in range(300):
            while True:
                try:
                    await publisher.publish("payments.requested", {"number": number}, message_id=f"n-{number}")
                    break
                except BrokerUnavailable:
                    await publisher.wait_connected()
                    await asyncio.sleep(0.01)

    publishing = asyncio.create_task(publish_all())
    await halfway.wait()
    nats_server.kill()
    await nats_server.start_soon()
    await publishing
    await eventually(lambda: settled(publisher))

    assert sorted(handled) == list(range(300))
    # only what was being settled when the broker died may have come twice
    assert sum(handled.values()) <= 300 + 8


async def test_a_broker_that_comes_back_empty_gets_its_streams_and_consumers_again(
    nats_server: NatsServer, connect: Connect, run: Run
) -> None:
    broker, handler = await connect(nats_server.url), Recorder()
    run(payments(broker, handler).run())
    await broker.publish("payments.requested", {"age": "old"}, message_id="m-1")
    await handler.next()

    nats_server.kill()
    nats_server.wipe()
    await nats_server.start_soon()
    await eventually(lambda: broker.connected)
    await broker.publish("payments.requested", {"age": "new"}, message_id="m-1")

    assert (await handler.next()).body == {"age": "new"}


async def test_a_deleted_consumer_is_made_again(nats_server: NatsServer, connect: Connect, run: Run) -> None:
    broker, handler = await connect(nats_server.url), Recorder()
    run(payments(broker, handler).run())
    await broker.publish("payments.requested", {}, message_id="m-1")
    await handler.next()

    await (await broker.link()).jetstream.delete_consumer(PAYMENTS, "payment")
    await broker.publish("payments.requested", {}, message_id="m-2")

    await handler.next()


async def test_a_message_whose_workers_all_died_becomes_a_dead_letter(
    nats_server: NatsServer, connect: Connect, run: Run
) -> None:
    broker = await connect(nats_server.url)
    policy = RedeliveryPolicy(max_deliveries=1, ack_wait=0.2)
    link = await broker.link()

    crashing = Pull(link, PAYMENTS, "payment")
    await crashing.open("payments.requested", policy.ack_wait)
    await crashing.ask(1)
    await broker.publish("payments.requested", {}, message_id="killer")
    assert await crashing.next() is not None  # taken, and never settled

    handler = Recorder()
    run(payments(broker, handler, policy=policy).run())
    await eventually(lambda: settled(broker))

    (letter,) = await DeadLetters(broker).list()
    assert letter.reason == "delivered 1 times and never settled"
    assert not handler.times


async def test_the_handler_runs_in_the_trace_of_the_sender(nats_server: NatsServer, connect: Connect, run: Run) -> None:
    broker, seen = await connect(nats_server.url), asyncio.get_running_loop().create_future()

    async def handler(_message: Message) -> None:
        seen.set_result(trace.get_current_span().get_span_context().trace_id)

    run(payments(broker, handler).run())
    sender = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    with trace.use_span(NonRecordingSpan(sender)):
        await broker.publish("payments.requested", {}, message_id="traced")

    assert await seen == 0xABC
