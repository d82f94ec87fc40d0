"""The transactional outbox: a message is written with the change that it tells of, and relayed to the broker later.

See C. Richardson, Microservices Patterns, 3.3.2. The relay claims rows by a lease, publishes them, and deletes what
the broker has confirmed. Killed at any point, it leaves rows whose lease runs out: another replica publishes them
again under the same message id, which the broker stores once within its duplicate window (2 min, the lease is 15 s).
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, Table, bindparam, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.chassis.clock import Clock, SystemClock, milliseconds
from shared.chassis.database import Database, DatabaseUnavailable
from shared.chassis.inserts import insert_unless
from shared.chassis.padding import padded
from shared.chassis.prepared import Prepared
from shared.messaging import tracing, wire
from shared.messaging.broker import Broker
from shared.messaging.link import BrokerUnavailable
from shared.messaging.metrics import Metrics

LEASE_SECONDS = 15.0
POLL_SECONDS = 5.0
"""How often an idle relay looks for what a killed replica has left; what this one adds it sends at once."""

_MESSAGE = ("message_id", "subject", "body", "headers", "created_at", "claimed_until", "attempts")
_PUBLISH_SECONDS = LEASE_SECONDS * 0.7
_SETTLE_SECONDS = 2.0
_CONCURRENCY = 16
_FIRST_WAIT, _MAX_WAIT = 0.25, 30.0
_LEAST_IDLE = 0.05
_FARTHEST_MS = 120_000
"""A row that seems to be claimed for longer than that, four times as long as any is, was claimed by a wrong clock."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    message_id: str
    subject: str
    body: dict[str, Any]
    headers: dict[str, str]
    attempts: int


@dataclass(slots=True)
class _Batch:
    """Claimed rows, until when, and those of them that the broker has confirmed."""

    rows: list[_Row] = field(default_factory=list)
    until: int = 0
    sent: set[int] = field(default_factory=set)

    @property
    def unsent(self) -> list[_Row]:
        return [row for row in self.rows if row.id not in self.sent]


class Outbox:
    """The outbox of one service. Every replica may run the relay."""

    def __init__(
        self,
        database: Database,
        table: Table,
        broker: Broker,
        *,
        clock: Clock | None = None,
        batch: int = 50,
        registry: CollectorRegistry | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._database, self._table, self._broker = database, table, broker
        self._add = Prepared(insert_unless(table, "message_id", columns=_MESSAGE))
        self._clock = clock or SystemClock()
        self._batch = batch
        self._poll_seconds = poll_seconds
        self._metrics = Metrics.of(registry)
        self._work = asyncio.Event()
        self._idle_seconds = poll_seconds
        self._measured_at = 0.0

    def add(
        self,
        connection: Connection,
        subject: str,
        body: Mapping[str, Any],
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Write a message in a transaction of `Database.transact`; the same `message_id` again changes nothing.

        Call `notify()` once that transaction has committed. Raises ValueError or TypeError for what could never be
        published, so that it fails here and not in the relay.
        """
        carried = tracing.carry(headers or {})
        wire.check(subject, {**carried, wire.MESSAGE_ID: message_id})
        wire.encode(body)
        message = {
            "message_id": message_id,
            "subject": subject,
            "body": dict(body),
            "headers": carried,
            "created_at": milliseconds(self._clock),
            "claimed_until": 0,
            "attempts": 0,
        }
        self._add.run(connection, message)

    def notify(self) -> None:
        """Wake the relay."""
        self._work.set()

    async def run(self) -> None:
        """Relay until cancelled. While the broker is away nothing is claimed; while the database is, nothing is done.

        Safe in several replicas at once: each row is claimed by one of them, for `LEASE_SECONDS`.
        """
        due = True
        while True:
            try:
                if due and self._broker.connected:
                    self._work.clear()
                    await self._relay()
                due = await self._wait()
            except DatabaseUnavailable as error:
                log.warning("outbox not reached", reason=str(error))
                await asyncio.sleep(self._poll_seconds)
                due = True

    async def _relay(self) -> None:
        batch = _Batch()
        try:
            while (batch := await self._exchange(batch)).rows:
                await self._publish(batch)
                if asyncio.get_running_loop().time() - self._measured_at > self._poll_seconds:
                    await self._measure()
        except asyncio.CancelledError:
            # otherwise what is not sent waits for the lease to run out
            with suppress(DatabaseUnavailable, TimeoutError):
                async with asyncio.timeout(_SETTLE_SECONDS), self._database.write() as connection:
                    await self._settle(connection, batch, stopping=True)
            raise

    async def _exchange(self, batch: _Batch) -> _Batch:
        """Settle one batch and claim the next in a single transaction: each costs a flush to disk."""
        claiming = self._broker.connected
        if not claiming and not batch.rows:
            return _Batch()
        async with self._database.write() as connection:
            await self._settle(connection, batch, stopping=False)
            return await self._claim(connection) if claiming else _Batch()

    async def _claim(self, connection: AsyncConnection) -> _Batch:
        table, now = self._table, milliseconds(self._clock)
        until = now + int(LEASE_SECONDS * 1000)
        # a common table expression: Postgres runs a locking subquery exactly once in it; SQLite has one writer anyway
        free = (
            select(table.c.id)
            .where(or_(table.c.claimed_until <= now, table.c.claimed_until > now + _FARTHEST_MS))
            .order_by(table.c.id)
            .limit(self._batch)
            .with_for_update(skip_locked=True)
            .cte("free")
        )
        columns = (table.c.id, table.c.message_id, table.c.subject, table.c.body, table.c.headers, table.c.attempts)
        claimed = await connection.execute(
            update(table)
            .where(table.c.id.in_(select(free.c.id)))
            .values(claimed_until=until, attempts=table.c.attempts + 1)
            .returning(*columns)
        )
        return _Batch(sorted((_Row(*row) for row in claimed), key=lambda row: row.id), until)

    async def _publish(self, batch: _Batch) -> None:
        gate = asyncio.Semaphore(_CONCURRENCY)
        reasons: list[str] = []

        async def publish(row: _Row) -> None:
            async with gate:
                try:
                    await self._broker.publish(row.subject, row.body, message_id=row.message_id, headers=row.headers)
                except (BrokerUnavailable, ValueError) as error:
                    reasons.append(str(error))
                else:
                    batch.sent.add(row.id)

        with suppress(TimeoutError):
            async with asyncio.timeout(_PUBLISH_SECONDS), asyncio.TaskGroup() as group:
                for row in batch.rows:
                    group.create_task(publish(row))
        if reasons:
            log.warning("outbox messages not sent", count=len(batch.unsent), reason=reasons[0])

    async def _settle(self, connection: AsyncConnection, batch: _Batch, *, stopping: bool) -> None:
        table = self._table
        if batch.sent:
            await connection.execute(delete(table).where(table.c.id.in_(padded(batch.sent))))
        if unsent := batch.unsent:
            now, at_once = milliseconds(self._clock), stopping or not self._broker.connected
            waits = [0.0 if at_once else min(_FIRST_WAIT * 2 ** min(row.attempts, 16), _MAX_WAIT) for row in unsent]
            self._idle_seconds = min(self._idle_seconds, *waits)
            # a relay that was paused past its lease must not give away what another has claimed since
            ours = (table.c.id == bindparam("row")) & (table.c.claimed_until == batch.until)
            await connection.execute(
                update(table).where(ours).values(claimed_until=bindparam("free_at")),
                [
                    {"row": row.id, "free_at": now + int(wait * 1000) if wait else 0}
                    for row, wait in zip(unsent, waits, strict=True)
                ],
            )

    async def _wait(self) -> bool:
        """Idle until there may be something to do. Returns whether there is."""
        connected = self._broker.connected
        seconds, self._idle_seconds = max(self._idle_seconds, _LEAST_IDLE), self._poll_seconds
        try:
            async with asyncio.timeout(seconds if connected else self._poll_seconds):
                await (self._work.wait() if connected else self._broker.wait_connected())
        except TimeoutError:
            return await self._measure()
        return True

    async def _measure(self) -> bool:
        """Set the gauges. Returns whether a row can be claimed now."""
        self._measured_at = asyncio.get_running_loop().time()
        columns = self._table.c
        async with self._database.read() as connection:
            until = columns.claimed_until
            query = select(func.count(), func.min(columns.created_at), func.min(until), func.max(until))
            count, oldest, free_at, farthest = (await connection.execute(query)).one()
        now = milliseconds(self._clock)
        self._metrics.outbox_messages.set(count)
        self._metrics.outbox_oldest_seconds.set(max(0.0, (now - oldest) / 1000) if count else 0.0)
        if not count:
            return False
        self._idle_seconds = min(self._poll_seconds, max(0.0, (free_at - now) / 1000))
        return bool(free_at <= now or farthest > now + _FARTHEST_MS)
