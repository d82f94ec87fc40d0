"""The outbox on SQLite and on Postgres, relayed to a real NATS server."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client import CollectorRegistry
from sqlalchemy import MetaData, Table, delete, event, select

from shared.chassis.database import Database, DatabaseUnavailable
from shared.chassis.migrations import migrate
from shared.messaging import PAYMENTS, Broker, Message, Outbox, outbox_table
from shared.messaging.outbox import LEASE_SECONDS, _Batch
from tests.fixtures.nats import NatsServer
from tests.integration.messaging.conftest import Connect, Run, eventually, payments


class SetClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time


class Counting(Broker):
    """A real broker that remembers which messages it was given, and can pretend to be away."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.published: list[str] = []

    async def publish(
        self, subject: str, body: Mapping[str, Any], *, message_id: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.published.append(message_id)
        await super().publish(subject, body, message_id=message_id, headers=headers)


@pytest.fixture
def table() -> Table:
    return outbox_table(MetaData())


@pytest.fixture
async def database(database_url: str, table: Table) -> AsyncIterator[Database]:
    opened = Database(database_url, synchronous="normal")
    async with opened.write() as connection:
        await connection.run_sync(table.metadata.create_all)
    yield opened
    await opened.close()


@pytest.fixture
async def counting(nats_server: NatsServer) -> AsyncIterator[Counting]:
    broker = Counting(nats_server.url)
    await broker.start()
    await broker.wait_connected()
    yield broker
    await broker.stop()


async def write(database: Database, outbox: Outbox, *ids: str, **headers: str) -> None:
    async with database.write() as connection:
        for message_id in ids:
            await connection.run_sync(
                outbox.add, "payments.requested", {"id": message_id}, message_id=message_id, headers=headers
            )


async def rows(database: Database, table: Table) -> list[Any]:
    async with database.read() as connection:
        return list(await connection.execute(select(table).order_by(table.c.id)))


async def stored(broker: Broker) -> list[str]:
    """Ids of the messages in the stream, in its order."""
    jetstream = (await broker.link()).jetstream
    state = (await jetstream.stream_info(PAYMENTS)).state
    sequences = range(max(state.first_seq, 1), state.last_seq + 1)
    return [(await jetstream.get_msg(PAYMENTS, seq=sequence)).headers["Nats-Msg-Id"] for sequence in sequences]


async def test_however_many_messages_go_at_a_time_the_statements_stay_few(
    database: Database, table: Table, counting: Counting, run: Run
) -> None:
    statements: set[str] = set()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.add(statement)

    for engine in database.sync_engines:
        event.listen(engine, "before_cursor_execute", note)
    outbox = Outbox(database, table, counting)
    run(outbox.run())

    async def gone() -> bool:
        return not await rows(database, table)

    for count in range(1, 21):
        await write(database, outbox, *(f"m-{count}-{number}" for number in range(count)))
        outbox.notify()
        await eventually(gone)
    assert 1 < sum(text.startswith("DELETE") for text in statements) <= 7  # 50 at most: 1, 2, 4, ... 64


async def test_a_committed_message_is_sent_and_its_row_deleted(
    database: Database, table: Table, counting: Counting, run: Run
) -> None:
    outbox = Outbox(database, table, counting)
    run(outbox.run())

    await write(database, outbox, "m-1", **{"x-shop": "berlin"})
    outbox.notify()

    async def gone() -> bool:
        return not await rows(database, table)

    await eventually(gone)
    message = await (await counting.link()).jetstream.get_msg(PAYMENTS, seq=1)
    assert message.data == b'{"id":"m-1"}'
    assert message.headers == {"x-shop": "berlin", "Nats-Msg-Id": "m-1"}


async def test_a_message_of_a_transaction_that_was_rolled_back_is_never_sent(
    database: Database, table: Table, counting: Counting, run: Run
) -> None:
    outbox = Outbox(database, table, counting)
    run(outbox.run())

    async def fail() -> None:
        async with database.write() as connection:
            await connection.run_sync(outbox.add, "payments.requested", {}, message_id="undone")
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    await write(database, outbox, "done")
    outbox.notify()

    await eventually(lambda: counting.published)
    assert counting.published == ["done"]


async def test_adding_the_same_message_again_changes_nothing(database: Database, table: Table) -> None:
    outbox = Outbox(database, table, Broker(""))
    await write(database, outbox, "m-1")
    await write(database, outbox, "m-1", **{"x-shop": "other"})

    (row,) = await rows(database, table)
    assert row.headers == {}


@pytest.mark.parametrize("subject", ["payments.*", "", "payments.a b"])
async def test_what_could_never_be_published_is_refused_when_it_is_added(
    database: Database, table: Table, subject: str
) -> None:
    outbox = Outbox(database, table, Broker(""))

    async def add(body: dict[str, Any]) -> None:
        async with database.write() as connection:
            await connection.run_sync(outbox.add, subject, body, message_id="m-1")

    with pytest.raises(ValueError, match="not a subject"):
        await add({})
    subject = "payments.requested"
    with pytest.raises(ValueError, match="the limit is"):
        await add({"text": "x" * 300_000})
    with pytest.raises(TypeError):
        await add({"object": object()})
    assert not await rows(database, table)


async def test_messages_are_published_in_the_order_of_their_creation(
    database: Database, table: Table, counting: Counting, run: Run
) -> None:
    outbox = Outbox(database, table, counting, batch=7)
    names = [f"m-{number:03}" for number in range(40)]
    await write(database, outbox, *names)

    run(outbox.run())

    async def all_stored() -> bool:
        return len(await stored(counting)) == 40

    await eventually(all_stored)
    assert counting.published == names


async def test_two_relays_at_once_publish_each_message_once(
    database_url: str, database: Database, table: Table, nats_server: NatsServer, run: Run
) -> None:
    names = [f"m-{number}" for number in range(200)]
    others = [Database(database_url, synchronous="normal") for _ in range(2)]
    brokers = [Counting(nats_server.url) for _ in range(2)]
    relays = [Outbox(db, table, broker, batch=10) for db, broker in zip(others, brokers, strict=True)]
    for broker in brokers:
        await broker.start()
        await broker.wait_connected()
    await write(database, relays[0], *names)

    tasks = [asyncio.create_task(relay.run()) for relay in relays]

    async def empty() -> bool:
        return not await rows(database, table)

    await eventually(empty)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(brokers[0].published + brokers[1].published) == sorted(names)
    assert sorted(await stored(brokers[0])) == sorted(names)
    for broker, other in zip(brokers, others, strict=True):
        await broker.stop()
        await other.close()


async def test_claims_made_at_the_same_moment_never_overlap(
    database_url: str, database: Database, table: Table, counting: Counting
) -> None:
    others = [Database(database_url, synchronous="normal") for _ in range(6)]
    relays = [Outbox(other, table, counting, batch=5) for other in others]
    await write(database, relays[0], *(f"m-{number}" for number in range(300)))

    claimed: list[str] = []
    for _ in range(10):
        batches = await asyncio.gather(*(relay._exchange(_Batch()) for relay in relays))
        claimed += [row.message_id for batch in batches for row in batch.rows]

    assert len(claimed) == len(set(claimed)) == 300
    for other in others:
        await other.close()


async def test_nothing_is_claimed_while_the_broker_is_away_and_all_is_sent_when_it_is_back(
    database: Database, table: Table, make_nats: Callable[..., NatsServer], run: Run
) -> None:
    server, registry = make_nats(), CollectorRegistry()
    broker = Counting(server.url)
    await broker.start()
    outbox = Outbox(database, table, broker, registry=registry, poll_seconds=0.05)
    run(outbox.run())

    await write(database, outbox, "m-1", "m-2")
    outbox.notify()
    await eventually(lambda: registry.get_sample_value("outbox_messages") == 2)
    assert [(row.attempts, row.claimed_until) for row in await rows(database, table)] == [(0, 0), (0, 0)]
    assert not broker.published

    await server.start_soon()
    await eventually(lambda: registry.get_sample_value("outbox_messages") == 0)
    assert await stored(broker) == ["m-1", "m-2"]
    await broker.stop()


async def test_every_message_arrives_although_the_broker_is_killed_in_the_middle(
    database: Database, table: Table, nats_server: NatsServer, counting: Counting, connect: Connect, run: Run
) -> None:
    outbox = Outbox(database, table, counting, batch=10)
    consumer, handled = await connect(nats_server.url), set()
    halfway = asyncio.Event()

    async def handler(message: Message) -> None:
        handled.add(message.body["id"])
        if len(handled) == 50:
            halfway.set()

    run(payments(consumer, handler).run())
    run(outbox.run())
    names = [f"m-{number}" for number in range(200)]
    for start in range(0, 200, 20):
        await write(database, outbox, *names[start : start + 20])
        outbox.notify()
    await halfway.wait()
    nats_server.kill()
    await nats_server.start_soon()

    await eventually(lambda: len(handled) == 200)
    assert handled == set(names)


_RELAY_THAT_DIES = """
import asyncio, os, signal, sys
from sqlalchemy import MetaData
from shared.chassis.database import Database
from shared.messaging import Broker, Outbox, outbox_table

class Dying(Broker):
    async def publish(self, *arguments, **options):
        await super().publish(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

class Clock:
    def now(self):
        return 1_800_000_000.0

async def main(database_url, nats_url):
    broker = Dying(nats_url)
    await broker.start()
    await Outbox(Database(database_url), outbox_table(MetaData()), broker, clock=Clock()).run()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_relay_killed_between_publishing_and_deleting_leads_to_one_delivery(
    database_url: str,
    database: Database,
    table: Table,
    nats_server: NatsServer,
    counting: Counting,
    connect: Connect,
    run: Run,
) -> None:
    clock = SetClock()
    outbox = Outbox(database, table, counting, clock=clock, poll_seconds=0.05)
    await write(database, outbox, "m-1")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _RELAY_THAT_DIES, database_url, nats_server.url, stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == -signal.SIGKILL
    (row,) = await rows(database, table)
    assert row.claimed_until == int((clock.time + LEASE_SECONDS) * 1000)
    assert await stored(counting) == ["m-1"]

    deliveries: list[Message] = []

    async def handler(message: Message) -> None:
        deliveries.append(message)

    run(payments(await connect(nats_server.url), handler).run())
    run(outbox.run())
    await eventually(lambda: len(deliveries) == 1)
    assert not counting.published  # the lease of the dead relay still holds

    clock.time += LEASE_SECONDS + 1

    async def empty() -> bool:
        return not await rows(database, table)

    await eventually(empty)
    assert counting.published == ["m-1"]
    # a later message is the proof that no second copy is on its way before it
    await write(database, outbox, "m-2")
    outbox.notify()
    await eventually(lambda: len(deliveries) == 2)
    assert [message.body["id"] for message in deliveries] == ["m-1", "m-2"]


async def test_a_cancelled_relay_gives_back_what_it_had_claimed(
    database: Database, table: Table, nats_server: NatsServer, counting: Counting
) -> None:
    outbox = Outbox(database, table, counting)
    await write(database, outbox, "m-1", "m-2")
    nats_server.pause()
    relay = asyncio.create_task(outbox.run())
    await eventually(lambda: len(counting.published) == 2)
    assert all(row.claimed_until > 0 for row in await rows(database, table))

    relay.cancel()
    await asyncio.gather(relay, return_exceptions=True)

    assert [row.claimed_until for row in await rows(database, table)] == [0, 0]
    nats_server.resume()


async def test_a_message_that_no_stream_takes_does_not_hold_back_the_others(
    database: Database, table: Table, counting: Counting, run: Run
) -> None:
    clock = SetClock()
    outbox = Outbox(database, table, counting, clock=clock, batch=1, poll_seconds=0.05)
    async with database.write() as connection:
        await connection.run_sync(outbox.add, "nowhere.at.all", {}, message_id="stray")
    await write(database, outbox, "m-1", "m-2")

    run(outbox.run())

    async def only_the_stray_is_left() -> bool:
        return [row.message_id for row in await rows(database, table)] == ["stray"]

    await eventually(only_the_stray_is_left)
    waits = []
    for attempt in range(1, 4):

        async def tried(attempt: int = attempt) -> bool:
            (row,) = await rows(database, table)
            return row.attempts == attempt and row.claimed_until < (clock.time + LEASE_SECONDS - 1) * 1000

        await eventually(tried)
        (row,) = await rows(database, table)
        waits.append(row.claimed_until / 1000 - clock.time)
        clock.time = row.claimed_until / 1000 + 0.001
    assert waits == pytest.approx([0.5, 1.0, 2.0], abs=0.002)


async def test_an_idle_relay_writes_nothing_to_the_database(
    database: Database, table: Table, counting: Counting, run: Run
) -> None:
    outbox = Outbox(database, table, counting, poll_seconds=0.02)
    written: list[str] = []
    read: list[str] = []

    def on_write(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        written.append(statement)

    def on_read(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        read.append(statement)

    run(outbox.run())
    await write(database, outbox, "m-1")
    outbox.notify()

    async def gone() -> bool:
        return not await rows(database, table)

    await eventually(gone)
    event.listen(database._writer.sync_engine, "before_cursor_execute", on_write)
    event.listen(database._reader.sync_engine, "before_cursor_execute", on_read)
    await eventually(lambda: len(read) >= 10)
    # the claim that found nothing more may still have been under way
    assert len(written) <= 1


async def test_the_gauges_show_how_much_waits_and_for_how_long(database: Database, table: Table, run: Run) -> None:
    clock, registry = SetClock(), CollectorRegistry()
    outbox = Outbox(database, table, Broker(""), clock=clock, registry=registry, poll_seconds=0.02)
    await write(database, outbox, "m-1")
    clock.time += 30
    await write(database, outbox, "m-2")
    clock.time += 12.5

    run(outbox.run())

    await eventually(lambda: registry.get_sample_value("outbox_messages") == 2)
    assert registry.get_sample_value("outbox_oldest_seconds") == 42.5


async def test_a_message_keeps_the_trace_in_which_it_was_added(database: Database, table: Table) -> None:
    outbox = Outbox(database, table, Broker(""))
    span = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    with trace.use_span(NonRecordingSpan(span)):
        await write(database, outbox, "m-1")

    (row,) = await rows(database, table)
    assert row.headers["traceparent"] == "00-00000000000000000000000000000abc-0000000000000def-01"


async def test_messages_that_a_clock_an_hour_ahead_has_claimed_are_sent_once_it_is_set_back(
    database: Database, table: Table, counting: Counting, run: Run
) -> None:
    clock = SetClock()
    outbox = Outbox(database, table, counting, clock=clock, poll_seconds=0.02)
    await write(database, outbox, "m-1")
    clock.time += 3_600
    assert len((await outbox._exchange(_Batch())).rows) == 1  # whoever claimed it is gone
    clock.time -= 3_600
    run(outbox.run())
    await eventually(lambda: counting.published == ["m-1"])


async def test_a_relay_outlives_a_database_that_is_away(
    database: Database, table: Table, counting: Counting, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(database, table, counting, poll_seconds=0.02)
    refused = asyncio.Event()
    real_write = database.write

    def away() -> Any:
        refused.set()
        raise DatabaseUnavailable("gone")

    await write(database, outbox, "m-1")
    monkeypatch.setattr(database, "write", away)
    run(outbox.run())
    await refused.wait()
    monkeypatch.setattr(database, "write", real_write)

    await eventually(lambda: counting.published == ["m-1"])


_REVISION = """
from shared.messaging import create_outbox_table, drop_outbox_table

revision, down_revision = "0001", None


def upgrade() -> None:
    create_outbox_table()


def downgrade() -> None:
    drop_outbox_table()
"""


async def test_a_migration_creates_the_very_table_that_the_outbox_uses(
    database_url: str, table: Table, tmp_path: Path
) -> None:
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text("from shared.chassis.migration_env import run\n\nrun()\n")
    (tmp_path / "versions" / "0001_outbox.py").write_text(_REVISION)
    migrated = Database(database_url, synchronous="normal")
    assert await migrate(migrated, tmp_path) == "0001"

    async with migrated.write() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(
                MigrationContext.configure(sync, opts={"include_name": lambda name, *_: name != "alembic_version"}),
                table.metadata,
            )
        )
    assert differences == []
    outbox = Outbox(migrated, table, Broker(""))
    await write(migrated, outbox, "m-1")
    async with migrated.write() as connection:
        await connection.execute(delete(table))
    await write(migrated, outbox, "m-2")
    (row,) = await rows(migrated, table)
    assert row.id == 2  # an id is never used again
    await migrated.close()
