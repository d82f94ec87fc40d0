"""Holds on stock: taken for an order, then sold, given back, or expired. The rules of the inventory.

Every operation is one write transaction and may be repeated: the answer is the same. Inside a transaction the
reservation's row comes first and the products' rows follow in the order of their skus, so no two can wait for each other.

A hold lasts until its stock has been given back, not until the instant of `expires_at`: whoever commits before the
expiry has swept it keeps it. That is safe, for the stock is still set aside, and it spares a paid order a second hold.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import Row, Update, case, func, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from services.inventory.reservation import (
    HoldExpired,
    InsufficientStock,
    Outcome,
    Reservation,
    ReservationConflict,
    ReservationReleased,
    Shortage,
    State,
    UnknownReservation,
    UnknownSku,
)
from services.inventory.tables import Items, products, reservations
from shared.chassis.clock import Clock
from shared.chassis.database import Database

# a literal, not a parameter: only so do both databases use the partial index
_IS_HELD = text("reservations.state = 'HELD'")
_COLUMNS = (reservations.c.id, reservations.c.state, reservations.c.expires_at, reservations.c.items)


class Stock:
    """The reservations and the stock they move, in the service's database.

    `noticed` is told the expiry (epoch milliseconds) of every hold taken here.
    """

    def __init__(self, database: Database, clock: Clock, noticed: Callable[[int], None] = lambda _: None) -> None:
        self._database = database
        self._clock = clock
        self._noticed = noticed
        self._insert = sqlite.insert if database.is_sqlite else postgresql.insert

    async def reserve(self, id: str, items: Items, ttl_seconds: float) -> tuple[Reservation, Outcome]:  # noqa: A002
        """Hold all of `items` or none, for `ttl_seconds`.

        HELD when new, RETAKEN when an expired hold was taken again, REPEATED when it was held or committed already.
        Raises `UnknownSku`, `InsufficientStock`, `ReservationConflict`, `ReservationReleased`.
        """
        now = self._now()
        expires_at = now + round(ttl_seconds * 1000)
        async with self._database.write() as connection:
            fresh = (await connection.execute(self._taking(id, items, now, expires_at))).one_or_none()
            if fresh is None:
                found = await self._locked(connection, id)
                reservation, outcome = await self._take_up(connection, found, items, now, expires_at)
            else:
                await self._hold(connection, items)
                reservation = _reservation(fresh)
                # only a row that was there before is older than this call
                outcome = Outcome.HELD if fresh.created_at == fresh.updated_at else Outcome.RETAKEN
        if outcome is not Outcome.REPEATED:
            self._noticed(expires_at)
        return reservation, outcome

    async def commit(self, id: str) -> tuple[Reservation, Outcome]:  # noqa: A002
        """Turn the hold into a sale. Raises `HoldExpired`, `ReservationReleased`, `UnknownReservation`."""
        async with self._database.write() as connection:
            held = update(reservations).where(reservations.c.id == id, _IS_HELD)
            row = (await connection.execute(self._turned(held, State.COMMITTED))).one_or_none()
            if row is not None:
                reservation = _reservation(row)
                await self._move(connection, reservation.items, "held", "sold")
                return reservation, Outcome.COMMITTED
        reservation = await self.find(id)
        if reservation.state is State.COMMITTED:
            return reservation, Outcome.REPEATED
        if reservation.state in (State.RELEASED, State.RETURNED):
            raise ReservationReleased(id)
        # HELD only if it was taken again since the update above, which found it expired
        raise HoldExpired(id)

    async def release(self, id: str) -> tuple[Reservation, Outcome]:  # noqa: A002
        """Give back what is held or sold; for an id never seen, leave a tombstone that refuses a late reserve."""
        now = self._now()
        async with self._database.write() as connection:
            tombstone = self._insert(reservations).values(
                id=id, state=State.RELEASED, items={}, expires_at=None, created_at=now, updated_at=now
            )
            fresh = await connection.execute(tombstone.on_conflict_do_nothing().returning(*_COLUMNS))
            if (row := fresh.one_or_none()) is not None:
                return _reservation(row), Outcome.RELEASED
            found = await self._locked(connection, id)
            if found.state in (State.RELEASED, State.RETURNED):
                return found, Outcome.REPEATED
            sold = found.state is State.COMMITTED
            if found.state is not State.EXPIRED:
                await self._move(connection, found.items, "sold" if sold else "held", "free")
            state, outcome = (State.RETURNED, Outcome.RETURNED) if sold else (State.RELEASED, Outcome.RELEASED)
            statement = self._turned(update(reservations).where(reservations.c.id == id), state)
            return _reservation((await connection.execute(statement)).one()), outcome

    async def find(self, id: str) -> Reservation:  # noqa: A002
        """The reservation as it is, or `UnknownReservation`."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(*_COLUMNS).where(reservations.c.id == id))).one_or_none()
        if row is None:
            raise UnknownReservation(id)
        return _reservation(row)

    async def next_expiry(self) -> int | None:
        """When the first of all holds is due, in epoch milliseconds; None when nothing is held."""
        async with self._database.read() as connection:
            due: int | None = await connection.scalar(select(func.min(reservations.c.expires_at)).where(_IS_HELD))
        return due

    async def expire(self, limit: int) -> int:
        """Give back the stock of at most `limit` holds whose time is over; return how many there were.

        Replicas may do this at once: on Postgres each skips the rows of the others, on SQLite they take turns.
        """
        oldest = reservations.alias("oldest")
        # a common table expression that locks runs once, where a plain inner select may run again, past its limit
        due = (
            select(oldest.c.id)
            .where(text("oldest.state = 'HELD'"), oldest.c.expires_at <= self._now())
            .order_by(oldest.c.expires_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        # the state is asked for again: a commit may have come between the inner select and its lock
        expiring = update(reservations).where(reservations.c.id.in_(select(due.c.id)), _IS_HELD)
        async with self._database.write() as connection:
            rows = (await connection.execute(self._turned(expiring, State.EXPIRED))).all()
            back: Counter[str] = Counter()
            for row in rows:
                back.update(row.items)
            if back:
                await self._move(connection, back, "held", "free")
        return len(rows)

    def _now(self) -> int:
        return round(self._clock.now() * 1000)

    def _taking(self, id: str, items: Items, now: int, expires_at: int) -> Any:  # noqa: A002
        """A new row, or an expired one of the same items made HELD again; any other row stays, and none is returned."""
        new = self._insert(reservations).values(
            id=id, state=State.HELD, items=items, expires_at=expires_at, created_at=now, updated_at=now
        )
        again = new.on_conflict_do_update(
            index_elements=[reservations.c.id],
            set_={"state": State.HELD, "expires_at": expires_at, "updated_at": now},
            where=(reservations.c.state == State.EXPIRED) & (reservations.c.items == new.excluded["items"]),
        )
        return again.returning(*_COLUMNS, reservations.c.created_at, reservations.c.updated_at)

    def _turned(self, rows: Update, state: State) -> Any:
        return rows.values(state=state, updated_at=self._now()).returning(*_COLUMNS)

    async def _locked(self, connection: AsyncConnection, id: str) -> Reservation:  # noqa: A002
        statement = select(*_COLUMNS).where(reservations.c.id == id).with_for_update()
        return _reservation((await connection.execute(statement)).one())

    async def _take_up(
        self, connection: AsyncConnection, found: Reservation, items: Items, now: int, expires_at: int
    ) -> tuple[Reservation, Outcome]:
        """What a reserve means for a row that is there and was not expired with these items."""
        if found.state in (State.RELEASED, State.RETURNED):
            raise ReservationReleased(found.id)
        if found.items != items:
            raise ReservationConflict(found.id)
        if found.state is State.COMMITTED or found.expires_at is None or found.expires_at > now:
            return found, Outcome.REPEATED
        # overdue and not yet swept: its stock is still aside, so only its time begins anew
        statement = update(reservations).where(reservations.c.id == found.id)
        renewed = statement.values(expires_at=expires_at, updated_at=now).returning(*_COLUMNS)
        return _reservation((await connection.execute(renewed)).one()), Outcome.RETAKEN

    async def _hold(self, connection: AsyncConnection, items: Items) -> None:
        moved = await self._take(connection, items, "free", "held")
        if len(moved) == len(items):
            return
        statement = select(products.c.sku, products.c.free).where(products.c.sku.in_(items))
        free: dict[str, int] = {row.sku: row.free for row in await connection.execute(statement)}
        if unknown := sorted(set(items) - set(free)):
            raise UnknownSku(unknown)
        # what this transaction has taken comes back with its rollback
        raise InsufficientStock(
            [Shortage(sku, count, free[sku] + (count if sku in moved else 0)) for sku, count in items.items()]
        )

    async def _move(self, connection: AsyncConnection, items: Items, source: str, target: str) -> None:
        if len(await self._take(connection, items, source, target)) < len(items):
            raise RuntimeError(f"the products' {source} stock is less than the reservations say: {dict(items)}")

    async def _take(self, connection: AsyncConnection, items: Items, source: str, target: str) -> set[str]:
        """Move stock from column to column, for each sku that has enough; return those."""
        if not self._database.is_sqlite:
            in_order = select(products.c.sku).where(products.c.sku.in_(items)).order_by(products.c.sku)
            await connection.execute(in_order.with_for_update())
        amount = case(dict(items), value=products.c.sku)
        statement = (
            update(products)
            .where(products.c.sku.in_(items), products.c[source] >= amount)
            .values({source: products.c[source] - amount, target: products.c[target] + amount})
            .returning(products.c.sku)
        )
        return set((await connection.execute(statement)).scalars())


def _reservation(row: Row[Any]) -> Reservation:
    return Reservation(row.id, State(row.state), row.expires_at, row.items)
