"""Orders and their storage. Every change of state is one transaction, fenced by the order's version.

Whoever works on an order holds its version. A claim or a step raises the version, so of two workers (a replica that was
paused and the one that took over) only one goes on; the other gets `Superseded` and stops.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from services.order import tables
from services.order.states import FINAL, NEXT, IllegalTransition, State
from shared.chassis.clock import Clock, milliseconds
from shared.chassis.database import Database

_DETAIL_LENGTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as it was at one version. Amounts in the currency's minor unit, times in ms since the epoch."""

    id: str
    idempotency_key: str | None
    fingerprint: str
    state: State
    ending: State | None
    customer: str
    currency: str
    total_amount: int
    items: Sequence[Mapping[str, Any]]
    card_last4: str
    sealed_card: str | None
    charge_begun: bool
    transaction_id: str | None
    answer: Mapping[str, Any] | None
    tries: int
    version: int
    due_at: int | None
    created_at: int
    updated_at: int

    @property
    def is_final(self) -> bool:
        """Nothing more will happen to it by itself."""
        return self.state in FINAL

    @classmethod
    def of(cls, row: Row[Any]) -> "Order":
        """The order in a row of the table."""
        values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name
        values["state"] = State(values["state"])
        values["ending"] = State(values["ending"]) if values["ending"] else None
        values["charge_begun"] = bool(values["charge_begun"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Step:
    """One line of an order's history."""

    seq: int
    state: State
    at: int
    detail: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send if and only if the step that it belongs to is committed."""

    subject: str
    body: Mapping[str, Any]
    message_id: str


class Post(Protocol):
    """Takes a message into the transaction of a step (the outbox)."""

    async def add(
        self,
        connection: AsyncConnection,
        subject: str,
        body: Mapping[str, Any],
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Write the message down in the caller's transaction."""
        ...

    def notify(self) -> None:
        """Say that a transaction with messages was committed."""
        ...


class Superseded(Exception):
    """Somebody else has taken the order over since it was read."""


class Orders:
    """The orders of this service.

    lease_ms: how long whoever takes an order has it for itself before recovery may take it over
    """

    def __init__(self, database: Database, post: Post, clock: Clock, *, lease_ms: int = 8_000) -> None:
        self._database, self._post, self._clock, self._lease_ms = database, post, clock, lease_ms
        self._insert = sqlite.insert if database.is_sqlite else postgresql.insert

    async def begin(self, new: Mapping[str, Any]) -> Order | None:
        """Write a new order down in RESERVING; None when its idempotency key is taken."""
        now = milliseconds(self._clock)
        values = {
            "ending": None,
            "charge_begun": 0,
            "transaction_id": None,
            "answer": None,
            "tries": 0,
            **new,
            "state": State.RESERVING,
            "version": 1,
            "due_at": now + self._lease_ms,
            "created_at": now,
            "updated_at": now,
        }
        async with self._database.write() as connection:
            statement = self._insert(tables.orders).on_conflict_do_nothing(index_elements=["idempotency_key"])
            if (await connection.execute(statement, values)).rowcount != 1:
                return None
            await self._write_step(
                connection, values["id"], 1, State.RESERVING, now, "order accepted, stock to be held"
            )
        return Order(**{**values, "charge_begun": False})

    async def advance(
        self,
        order: Order,
        state: State,
        detail: str,
        *,
        message: Outgoing | None = None,
        wait_ms: int | None = None,
        **changes: Any,
    ) -> Order:
        """Write down that the order goes over to `state`. Raises `Superseded`.

        wait_ms: when recovery is to look at it, if not after the lease (nothing else works on it until then)
        """
        if state not in NEXT[order.state]:
            raise IllegalTransition(f"{order.id}: {order.state} -> {state}")
        now = milliseconds(self._clock)
        changes |= {"state": state, "version": order.version + 1, "updated_at": now}
        changes["due_at"] = None if state in FINAL else now + (self._lease_ms if wait_ms is None else wait_ms)
        if state is not order.state:
            changes["tries"] = 0
        if state in FINAL:
            changes["sealed_card"] = None
        async with self._database.write() as connection:
            await self._change(connection, order, changes)
            await self._write_step(connection, order.id, order.version + 1, state, now, detail)
            if message is not None:
                await self._post.add(connection, message.subject, message.body, message_id=message.message_id)
        if message is not None:
            self._post.notify()
        return _changed(order, changes)

    async def claim(self, order: Order) -> Order:
        """Take the order over from whoever worked on it. Raises `Superseded` when it has moved on."""
        now = milliseconds(self._clock)
        changes = {"version": order.version + 1, "due_at": now + self._lease_ms}
        async with self._database.write() as connection:
            await self._change(connection, order, changes)
        return _changed(order, changes)

    async def postpone(self, order: Order, wait_ms: int) -> Order:
        """Leave the order where it is and let recovery look at it after `wait_ms`. Raises `Superseded`."""
        now = milliseconds(self._clock)
        changes = {"version": order.version + 1, "due_at": now + wait_ms, "tries": order.tries + 1}
        async with self._database.write() as connection:
            await self._change(connection, order, changes)
        return _changed(order, changes)

    async def get(self, order_id: str) -> Order | None:
        """The order with this id."""
        return await self._one(tables.orders.c.id == order_id)

    async def by_key(self, idempotency_key: str) -> Order | None:
        """The order that was begun with this idempotency key."""
        return await self._one(tables.orders.c.idempotency_key == idempotency_key)

    async def history(self, order_id: str) -> list[Step]:
        """The steps of an order, oldest first."""
        table = tables.steps
        query = select(table.c.seq, table.c.state, table.c.at, table.c.detail)
        async with self._database.read() as connection:
            rows = await connection.execute(query.where(table.c.order_id == order_id).order_by(table.c.seq))
            return [Step(row.seq, State(row.state), row.at, row.detail) for row in rows]

    async def page(self, state: State | None, before: str | None, limit: int) -> list[Order]:
        """Orders, newest first, from those before the id `before`."""
        table = tables.orders
        query = select(table).order_by(table.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(table.c.state == state)
        if before is not None:
            query = query.where(table.c.id < before)
        async with self._database.read() as connection:
            return [Order.of(row) for row in await connection.execute(query)]

    async def due(self, limit: int) -> list[Order]:
        """Unfinished orders that nobody works on any more, the longest waiting first."""
        table = tables.orders
        query = select(table).where(table.c.due_at <= milliseconds(self._clock)).order_by(table.c.due_at).limit(limit)
        async with self._database.read() as connection:
            return [Order.of(row) for row in await connection.execute(query)]

    async def _one(self, condition: Any) -> Order | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(tables.orders).where(condition))).one_or_none()
        return None if row is None else Order.of(row)

    @staticmethod
    async def _change(connection: AsyncConnection, order: Order, changes: Mapping[str, Any]) -> None:
        table = tables.orders
        statement = update(table).where(table.c.id == order.id, table.c.version == order.version)
        if (await connection.execute(statement, dict(changes))).rowcount != 1:
            raise Superseded(order.id)

    @staticmethod
    async def _write_step(
        connection: AsyncConnection, order_id: str, seq: int, state: State, at: int, detail: str
    ) -> None:
        values = {"order_id": order_id, "seq": seq, "state": state, "at": at, "detail": detail[:_DETAIL_LENGTH]}
        await connection.execute(insert(tables.steps), values)


def _changed(order: Order, changes: Mapping[str, Any]) -> Order:
    values = {name: getattr(order, name) for name in Order.__dataclass_fields__}
    values |= changes
    values["charge_begun"] = bool(values["charge_begun"])
    return Order(**values)
