"""Whatever relays do, in whatever order, crashes and pauses included: a message is claimed by one, and never lost."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import MetaData, select

from shared.chassis.database import Database
from shared.messaging import Broker, Outbox, outbox_table
from shared.messaging.outbox import LEASE_SECONDS, _Batch
from tests.fixtures.examples import examples

RELAYS = 3

steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 4)),
        st.tuples(st.just("turn"), st.integers(0, RELAYS - 1), st.sets(st.integers(0, 3))),
        st.tuples(st.just("crash"), st.integers(0, RELAYS - 1)),
        st.tuples(st.just("wait"), st.sampled_from([0.3, 1.0, LEASE_SECONDS + 0.001])),
    ),
    max_size=25,
)


# relay 0 sleeps past its lease, relay 1 takes over, relay 0 wakes and gives back what is no longer its own
PAUSED_AND_GIVES_BACK = [
    ("add", 1),
    ("turn", 0, set()),
    ("wait", LEASE_SECONDS + 0.001),
    ("turn", 1, set()),
    ("turn", 0, set()),
    ("wait", 1.0),
    ("turn", 2, set()),
]

# the same, but relay 1 has sent and deleted the message, and a new one came, before relay 0 wakes and deletes "its" row
PAUSED_AND_DELETES = [
    ("add", 1),
    ("turn", 0, set()),
    ("wait", LEASE_SECONDS + 0.001),
    ("turn", 1, set()),
    ("turn", 1, {0}),
    ("add", 1),
    ("turn", 0, {0}),
]


class Connected(Broker):
    """As if the broker were there; what it confirms is decided by the test."""

    connected = True  # type: ignore[assignment]


class Model:
    """The relays, the clock, and what must be true of them."""

    def __init__(self, database: Database) -> None:
        self.time, self.database, self.table = 1_800_000_000.0, database, outbox_table(MetaData())
        self.relays = [Outbox(database, self.table, Connected(""), clock=self, batch=4) for _ in range(RELAYS)]
        self.held: list[Any] = [None] * RELAYS
        self.added: set[str] = set()
        self.sent: set[str] = set()

    def now(self) -> float:
        return self.time

    async def add(self, count: int) -> None:
        async with self.database.write() as connection:
            for _ in range(count):
                message_id = f"m-{len(self.added)}"
                await connection.run_sync(self.relays[0].add, "payments.requested", {}, message_id=message_id)
                self.added.add(message_id)

    async def turn(self, relay: int, confirmed: set[int]) -> None:
        """The relay's batch is confirmed in part, settled, and the next one claimed."""
        batch = self.held[relay] or _Batch()
        for index in confirmed:
            if index < len(batch.rows):
                batch.sent.add(batch.rows[index].id)
                self.sent.add(batch.rows[index].message_id)
        self.held[relay] = await self.relays[relay]._exchange(batch)
        self.nobody_else_holds(relay)
        await self.what_is_there_is_what_was_not_sent()

    async def crash(self, relay: int) -> None:
        self.held[relay] = None

    async def wait(self, seconds: float) -> None:
        self.time += seconds

    def nobody_else_holds(self, relay: int) -> None:
        mine = {row.message_id for row in self.held[relay].rows}
        for other, batch in enumerate(self.held):
            if other != relay and batch is not None and batch.until > self.time * 1000:
                assert not mine & {row.message_id for row in batch.rows}

    async def what_is_there_is_what_was_not_sent(self) -> None:
        async with self.database.read() as connection:
            there = set((await connection.execute(select(self.table.c.message_id))).scalars())
        unsettled = {row.message_id for batch in self.held if batch for row in batch.rows if row.id in batch.sent}
        assert self.added - self.sent <= there
        assert there <= (self.added - self.sent) | unsettled


async def play(scenario: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        database = Database(f"sqlite+aiosqlite:///{Path(directory) / 'outbox.sqlite'}", synchronous="normal")
        try:
            model = Model(database)
            async with database.write() as connection:
                await connection.run_sync(model.table.metadata.create_all)
            for name, *arguments in scenario:
                await getattr(model, name)(*arguments)
            # however it went: one relay that lives on sends the rest, once the leases of the others have run out
            model.held = [None] * RELAYS
            for _ in range(len(model.added) + 2):
                await model.wait(LEASE_SECONDS * 3)
                await model.turn(0, {0, 1, 2, 3})
            assert model.sent == model.added
        finally:
            await database.close()


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
@example(PAUSED_AND_GIVES_BACK)
@example(PAUSED_AND_DELETES)
def test_a_message_is_claimed_by_one_relay_at_a_time_and_never_lost(scenario: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(scenario))
