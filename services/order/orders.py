"""Orders and their storage. Every change of state is one transaction, fenced by the order's version.

Whoever works on an order holds its version. A claim or a step raises the version, so of two workers (a replica that was
paused and the one that took over) only one goes on; the other gets `Superseded` and stops.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, union_all, update

from services.order import tables
from services.order.states import FINAL, NEXT, IllegalTransition, State
from shared.chassis.chained import Chained
from shared.chassis.clock import Clock, milliseconds
from shared.chassis.database import Database
from shared.chassis.inserts import insert_unless
from shared.chassis.prepared import Found, Prepared
from shared.messaging import Outbox

LONGEST_WAIT_MS = 30 * 60_000
"""No order waits longer than that for recovery to look at it: a wait that seems longer was written by a clock that was
wrong, and whoever sees it does not sit it out."""

_CLOCKS_DIFFER_MS = 60_000
_DETAIL_LENGTH = 200

_all = tables.orders.c
_BY_ID = Prepared(select(tables.orders).where(_all.id == bindparam("id")))
_BY_KEY = Prepared(select(tables.orders).where(_all.idempotency_key == bindparam("idempotency_key")))
_DUE = (
    # not one condition with OR: the database would sort all that is due instead of merging two ends of the index
    union_all(
        select(tables.orders).where(_all.due_at <= bindparam("now")),
        select(tables.orders).where(_all.due_at > bindparam("farthest")),
    )
    .order_by("due_at")
    .limit(bindparam("limit"))
)
_BEGIN = Chained(insert_unless(tables.orders, "idempotency_key"), tables.steps)
_UNFINISHED = (
    select(_all.state, func.count(), func.min(_all.created_at))
    .where(_all.state.in_(sorted(set(State) - FINAL)))
    .group_by(_all.state)
)
_FENCED = (
    update(tables.orders)
    .where(_all.id == bindparam("order_id"), _all.version == bindparam("known_version"))
    .returning(_all.id)
)
_CHANGE, _ADVANCE = Prepared(_FENCED), Chained(_FENCED, tables.steps)
_STEPS = select(tables.steps).where(tables.steps.c.order_id == bindparam("order_id")).order_by(tables.steps.c.seq)


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
    traceparent: str | None = None

    @property
    def is_final(self) -> bool:
        """Nothing more will happen to it by itself."""
        return self.state in FINAL

    @classmethod
    def of(cls, row: Found) -> "Order":
        """The order in a row of the table."""
        values = row._asdict()
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


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Orders under way in one state: how many, and how many seconds ago the oldest was placed."""

    orders: int
    oldest_seconds: float


class Superseded(Exception):
    """Somebody else has taken the order over since it was read."""


class Orders:
    """The orders of this service.

    lease_ms: how long whoever takes an order has it for itself before recovery may take it over
    ended: told of each order that comes to a final state, once that is committed
    resumed: told of the state of each order that is taken over, once that is committed
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        clock: Clock,
        *,
        lease_ms: int = 8_000,
        ended: Callable[[State], None] = lambda _state: None,
        resumed: Callable[[State], None] = lambda _state: None,
    ) -> None:
        self._database, self._outbox, self._clock, self._lease_ms = database, outbox, clock, _bounded(lease_ms)
        self._ended, self._resumed = ended, resumed

    async def begin(self, new: Mapping[str, Any]) -> Order | None:
        """Write a new order down in RESERVING; None when its idempotency key is taken."""
        now = milliseconds(self._clock)
        values = {
            "ending": None,
            "charge_begun": 0,
            "transaction_id": None,
            "answer": None,
            "tries": 0,
            "traceparent": None,
            **new,
            "state": State.RESERVING,
            "version": 1,
            "due_at": now + self._lease_ms,
            "created_at": now,
            "updated_at": now,
        }
        step = _step(values["id"], 1, State.RESERVING, now, "order accepted, stock to be held")

        if await self._database.once(lambda connection: _BEGIN.run(connection, values, step)) is None:
            return None
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
        changes["due_at"] = None if state in FINAL else now + (self._lease_ms if wait_ms is None else _bounded(wait_ms))
        if state is not order.state:
            changes["tries"] = 0
        if state in FINAL:
            changes["sealed_card"] = None
        step = _step(order.id, order.version + 1, state, now, detail)

        def write_down(connection: Connection) -> None:
            if _ADVANCE.run(connection, {**changes, **_fence(order)}, step) is None:
                raise Superseded(order.id)
            if message is not None:
                self._outbox.add(connection, message.subject, message.body, message_id=message.message_id)

        if message is None:
            await self._database.once(write_down)
        else:
            await self._database.transact(write_down)
            self._outbox.notify()
        if state in FINAL:
            self._ended(state)
        return _changed(order, changes)

    async def claim(self, order: Order) -> Order:
        """Take the order over from whoever worked on it. Raises `Superseded` when it has moved on."""
        now = milliseconds(self._clock)
        changes = {"version": order.version + 1, "due_at": now + self._lease_ms}
        await self._database.once(lambda connection: _change(connection, order, changes))
        self._resumed(order.state)
        return _changed(order, changes)

    async def postpone(self, order: Order, wait_ms: int) -> Order:
        """Leave the order where it is and let recovery look at it after `wait_ms`. Raises `Superseded`."""
        now = milliseconds(self._clock)
        changes = {"version": order.version + 1, "due_at": now + _bounded(wait_ms), "tries": order.tries + 1}
        await self._database.once(lambda connection: _change(connection, order, changes))
        return _changed(order, changes)

    async def get(self, order_id: str) -> Order | None:
        """The order with this id."""
        return await self._one(_BY_ID, id=order_id)

    async def by_key(self, idempotency_key: str) -> Order | None:
        """The order that was begun with this idempotency key."""
        return await self._one(_BY_KEY, idempotency_key=idempotency_key)

    async def history(self, order_id: str) -> list[Step]:
        """The steps of an order, oldest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(_STEPS, {"order_id": order_id})
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

    async def unfinished(self) -> dict[State, Unfinished]:
        """The orders that are not final, by state; the final ones, by far the most, are not read."""
        now = milliseconds(self._clock)
        async with self._database.read() as connection:
            rows = (await connection.execute(_UNFINISHED)).all()
        return {State(state): Unfinished(count, max(0.0, (now - oldest) / 1000)) for state, count, oldest in rows}

    async def due(self, limit: int) -> list[Order]:
        """Unfinished orders that nobody works on any more, the longest waiting first."""
        now = milliseconds(self._clock)
        async with self._database.read() as connection:
            rows = await connection.execute(_DUE, {"now": now, "farthest": _farthest(now), "limit": limit})
            return [Order.of(row) for row in rows]

    def is_due(self, order: Order) -> bool:
        """Whether the order is one of `due`."""
        now = milliseconds(self._clock)
        return order.due_at is not None and not now < order.due_at <= _farthest(now)

    async def _one(self, query: Prepared, **values: str) -> Order | None:
        row = await self._database.query(lambda connection: query.run(connection, values).one_or_none())
        return None if row is None else Order.of(row)


def _bounded(wait_ms: int) -> int:
    return min(wait_ms, LONGEST_WAIT_MS)


def _farthest(now: int) -> int:
    return now + LONGEST_WAIT_MS + _CLOCKS_DIFFER_MS


def _change(connection: Connection, order: Order, changes: Mapping[str, Any]) -> None:
    if _CHANGE.run(connection, {**changes, **_fence(order)}).one_or_none() is None:
        raise Superseded(order.id)


def _fence(order: Order) -> dict[str, Any]:
    return {"order_id": order.id, "known_version": order.version}


def _step(order_id: str, seq: int, state: State, at: int, detail: str) -> dict[str, Any]:
    return {"order_id": order_id, "seq": seq, "state": state, "at": at, "detail": detail[:_DETAIL_LENGTH]}


def _changed(order: Order, changes: Mapping[str, Any]) -> Order:
    values = {name: getattr(order, name) for name in Order.__dataclass_fields__}
    values |= changes
    values["charge_begun"] = bool(values["charge_begun"])
    return Order(**values)
