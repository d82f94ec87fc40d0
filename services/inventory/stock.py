"""Holds on stock: taken for an order, then sold, given back, or expired. The rules of the inventory.

Every operation is one write transaction and may be repeated: the answer is the same. Inside a transaction the
reservation's row comes first and the products' rows follow in the order of their skus, so that no two wait for each
other.

A hold lasts until its stock has been given back, not until the instant of `expires_at`: whoever commits before the
expiry has swept it keeps it. That is safe, for the stock is still set aside, and it spares a paid order a second hold.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, func, select, text, update

from services.inventory.reservation import (
    HoldExpired,
    InsufficientStock,
    Outcome,
    Reservation,
    ReservationConflict,
    ReservationReleased,
    Shortage,
    State,
    Totals,
    UnknownReservation,
    UnknownSku,
)
from services.inventory.tables import Items, products, reservations
from shared.chassis.clock import Clock, milliseconds
from shared.chassis.database import Database
from shared.chassis.inserts import insert_unless
from shared.chassis.prepared import Found, Prepared

# a literal, not a parameter: only so do both databases use the partial index
_IS_HELD = text("reservations.state = 'HELD'")
_COLUMNS = (reservations.c.id, reservations.c.state, reservations.c.expires_at, reservations.c["items"])

_THE_ROW = reservations.c.id == bindparam("reservation_id")
_FIND = Prepared(select(*_COLUMNS).where(_THE_ROW))
_LOCK = Prepared(select(*_COLUMNS).where(_THE_ROW).with_for_update())
_CHANGE = Prepared(update(reservations).where(_THE_ROW).returning(*_COLUMNS))
_CHANGE_HELD = Prepared(update(reservations).where(_THE_ROW, _IS_HELD).returning(*_COLUMNS))
_BURY = Prepared(insert_unless(reservations, "id"))
# a new row, or an expired one of the same items made HELD again; any other row stays, and none is returned
_TAKE = Prepared(
    insert_unless(
        reservations,
        "id",
        action="DO UPDATE SET state = excluded.state, expires_at = excluded.expires_at,"
        " updated_at = excluded.updated_at"
        " WHERE reservations.state = 'EXPIRED' AND reservations.items = excluded.items",
    )
)
_NEXT_EXPIRY = select(func.min(reservations.c.expires_at)).where(_IS_HELD)
_FREE = select(products.c.sku, products.c.free).where(products.c.sku.in_(bindparam("skus", expanding=True)))


def _moving(source: str, target: str) -> Prepared:
    """Move stock of one product from column to column, if there is enough."""
    count = bindparam("count", type_=BigInteger)
    return Prepared(
        update(products)
        .where(products.c.sku == bindparam("of"), products.c[source] >= count)
        .values({source: products.c[source] - count, target: products.c[target] + count})
        .returning(products.c.sku)
    )


_HOLD, _SELL = _moving("free", "held"), _moving("held", "sold")
_FREE_HELD, _FREE_SOLD = _moving("held", "free"), _moving("sold", "free")


class Stock:
    """The reservations and the stock they move, in the service's database.

    `on_hold` is called with the expiry (epoch milliseconds) of every hold taken here.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.on_hold: Callable[[int], None] = lambda _: None

    async def reserve(self, reservation_id: str, items: Items, ttl_seconds: float) -> tuple[Reservation, Outcome]:
        """Hold all of `items` or none, for `ttl_seconds`.

        HELD when new, RETAKEN when an expired hold was taken again, REPEATED when it was held or committed already.
        Raises `UnknownSku`, `InsufficientStock`, `ReservationConflict`, `ReservationReleased`.
        """
        now = milliseconds(self._clock)
        expires_at = now + round(ttl_seconds * 1000)
        new = _row(reservation_id, State.HELD, items, expires_at, now)

        def reserve(connection: Connection) -> tuple[Reservation, Outcome]:
            fresh = _TAKE.run(connection, new).one_or_none()
            if fresh is None:
                return _take_up(connection, reservation_id, items, now, expires_at)
            _hold(connection, items)
            # only a row that was there before is older than this call
            return _reservation(fresh), Outcome.HELD if fresh.created_at == fresh.updated_at else Outcome.RETAKEN

        reservation, outcome = await self._database.transact(reserve)
        if outcome is not Outcome.REPEATED:
            self.on_hold(expires_at)
        return reservation, outcome

    async def commit(self, reservation_id: str) -> tuple[Reservation, Outcome]:
        """Turn the hold into a sale. Raises `HoldExpired`, `ReservationReleased`, `UnknownReservation`."""
        sale = {"reservation_id": reservation_id, "state": State.COMMITTED, "updated_at": milliseconds(self._clock)}

        def commit(connection: Connection) -> Reservation | None:
            row = _CHANGE_HELD.run(connection, sale).one_or_none()
            if row is None:
                return None
            _move(connection, row.items, _SELL)
            return _reservation(row)

        sold = await self._database.transact(commit)
        if sold is not None:
            return sold, Outcome.COMMITTED
        reservation = await self.find(reservation_id)
        if reservation.state is State.COMMITTED:
            return reservation, Outcome.REPEATED
        if reservation.state in (State.RELEASED, State.RETURNED):
            raise ReservationReleased(reservation_id)
        # HELD only if it was taken again since the update above, which found it expired
        raise HoldExpired(reservation_id)

    async def release(self, reservation_id: str) -> tuple[Reservation, Outcome]:
        """Give back what is held or sold; for an id never seen, leave a tombstone that refuses a late reserve."""
        now = milliseconds(self._clock)
        tombstone = _row(reservation_id, State.RELEASED, {}, None, now)

        def release(connection: Connection) -> tuple[Reservation, Outcome]:
            if (row := _BURY.run(connection, tombstone).one_or_none()) is not None:
                return _reservation(row), Outcome.RELEASED
            found = _locked(connection, reservation_id)
            if found.state in (State.RELEASED, State.RETURNED):
                return found, Outcome.REPEATED
            sold = found.state is State.COMMITTED
            if found.state is not State.EXPIRED:
                _move(connection, found.items, _FREE_SOLD if sold else _FREE_HELD)
            state, outcome = (State.RETURNED, Outcome.RETURNED) if sold else (State.RELEASED, Outcome.RELEASED)
            end = {"reservation_id": reservation_id, "state": state, "updated_at": now}
            return _reservation(_CHANGE.run(connection, end).one()), outcome

        return await self._database.transact(release)

    async def find(self, reservation_id: str) -> Reservation:
        """The reservation as it is, or `UnknownReservation`."""
        wanted = {"reservation_id": reservation_id}
        row = await self._database.query(lambda connection: _FIND.run(connection, wanted).one_or_none())
        if row is None:
            raise UnknownReservation(reservation_id)
        return _reservation(row)

    async def totals(self) -> Totals:
        """All products and holds together, in one query."""
        units = (func.coalesce(func.sum(products.c[kind]), 0).label(kind) for kind in ("free", "held", "sold"))
        holds = select(func.count()).select_from(reservations).where(_IS_HELD).scalar_subquery()
        async with self._database.read() as connection:
            row = (await connection.execute(select(*units, holds.label("holds")))).one()
        return Totals(int(row.free), int(row.held), int(row.sold), row.holds)

    async def next_expiry(self) -> int | None:
        """When the first of all holds is due, in epoch milliseconds; None when nothing is held."""
        async with self._database.read() as connection:
            due: int | None = await connection.scalar(_NEXT_EXPIRY)
        return due

    async def expire(self, limit: int) -> int:
        """Give back the stock of at most `limit` holds whose time is over; return how many there were.

        Replicas may do this at once: on Postgres each skips the rows of the others, on SQLite they take turns.
        """
        oldest = reservations.alias("oldest")
        # a common table expression that locks runs once, where a plain inner select may run again, past its limit
        due = (
            select(oldest.c.id)
            .where(text("oldest.state = 'HELD'"), oldest.c.expires_at <= milliseconds(self._clock))
            .order_by(oldest.c.expires_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        # the state is asked for again: a commit may have come between the inner select and its lock
        expiring = (
            update(reservations)
            .where(reservations.c.id.in_(select(due.c.id)), _IS_HELD)
            .values(state=State.EXPIRED, updated_at=milliseconds(self._clock))
            .returning(*_COLUMNS)
        )

        def expire(connection: Connection) -> int:
            rows = connection.execute(expiring).all()
            back: Counter[str] = Counter()
            for row in rows:
                back.update(row.items)
            _move(connection, back, _FREE_HELD)
            return len(rows)

        return await self._database.transact(expire)


def _row(reservation_id: str, state: State, items: Items, expires_at: int | None, now: int) -> dict[str, Any]:
    times = {"expires_at": expires_at, "created_at": now, "updated_at": now}
    return {"id": reservation_id, "state": state, "items": items, **times}


def _locked(connection: Connection, reservation_id: str) -> Reservation:
    return _reservation(_LOCK.run(connection, {"reservation_id": reservation_id}).one())


def _take_up(
    connection: Connection, reservation_id: str, items: Items, now: int, expires_at: int
) -> tuple[Reservation, Outcome]:
    """What a reserve means for a row that is there and was not expired with these items."""
    found = _locked(connection, reservation_id)
    if found.state in (State.RELEASED, State.RETURNED):
        raise ReservationReleased(found.id)
    if found.items != items:
        raise ReservationConflict(found.id)
    if found.state is State.COMMITTED or found.expires_at is None or found.expires_at > now:
        return found, Outcome.REPEATED
    # overdue and not yet swept: its stock is still aside, so only its time begins anew
    longer = {"reservation_id": found.id, "expires_at": expires_at, "updated_at": now}
    return _reservation(_CHANGE.run(connection, longer).one()), Outcome.RETAKEN


def _hold(connection: Connection, items: Items) -> None:
    moved = _moved(connection, items, _HOLD)
    if len(moved) == len(items):
        return
    free: dict[str, int] = {row.sku: row.free for row in connection.execute(_FREE, {"skus": list(items)})}
    if unknown := sorted(set(items) - set(free)):
        raise UnknownSku(unknown)
    # what this transaction has taken comes back with its rollback
    raise InsufficientStock(
        [Shortage(sku, count, free[sku] + (count if sku in moved else 0)) for sku, count in items.items()]
    )


def _move(connection: Connection, items: Items, moving: Prepared) -> None:
    if len(_moved(connection, items, moving)) < len(items):
        raise RuntimeError(f"the products' stock is less than the reservations say: {dict(items)}")


def _moved(connection: Connection, items: Items, moving: Prepared) -> set[str]:
    """Move stock of each product that has enough, in the order of the skus; return those."""
    moved: set[str] = set()
    for sku in sorted(items):
        moved.update(row.sku for row in moving.run(connection, {"of": sku, "count": items[sku]}))
    return moved


def _reservation(row: Found) -> Reservation:
    return Reservation(row.id, State(row.state), row.expires_at, row.items)
