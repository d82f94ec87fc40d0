"""The simulated card network: the other side of the wire.

It stands for a system of somebody else's. It is idempotent by payment key and has a durable memory of its own (the
table `card_network_charges`, written in its own transactions), so that it remembers a charge whose answer was lost or
whose caller was killed. The service reaches it only through `gateway.py`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any

from sqlalchemy import Connection, bindparam, or_, update

from services.payment.behaviour import BehaviourSwitch, Loss
from services.payment.cards import Card, breaks_the_network, decline_code
from services.payment.storage import KeyedRows
from services.payment.tables import card_network_charges as charges
from shared.chassis.clock import Clock, milliseconds
from shared.chassis.database import Database, DatabaseUnavailable
from shared.chassis.ids import new_id
from shared.chassis.prepared import Found, Prepared

_ROWS = KeyedRows(charges)

# on Postgres another refund may come between the two statements: both write the same
_REFUND = Prepared(
    update(charges)
    .where(charges.c.payment_key == bindparam("key"), or_(charges.c.state == "CAPTURED", charges.c.state == "REFUNDED"))
    .values(refunded_amount=charges.c.captured_amount)
    .returning(charges)
)


class NetworkUnavailable(Exception):
    """No answer: whether the call took effect is not known. The same call again is safe."""


class NetworkState(StrEnum):
    """What the network knows of a payment key."""

    CAPTURED = "CAPTURED"
    DECLINED = "DECLINED"
    REFUNDED = "REFUNDED"
    VOIDED = "VOIDED"  # refunded before any charge: one that comes later is refused


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """The network's answer: everything that it remembers of the key, after the call."""

    reference: str
    state: NetworkState
    currency: str | None
    captured_amount: int
    refunded_amount: int
    card_last4: str | None
    decline_code: str | None


class SimulatedCardNetwork:
    """Charges and gives back, with the latencies and losses of the behaviour in force.

    Half of a call's latency passes before it takes effect and half after, so a caller's time limit may strike on either
    side of it.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        behaviour: BehaviourSwitch,
        random: Random,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._database, self._clock, self._behaviour = database, clock, behaviour
        self._random, self._sleep = random, sleep

    async def charge(self, payment_key: str, amount: int, currency: str, card: Card) -> NetworkRecord:
        """Charge the card once for this key, or answer with what was decided before.

        Raises `NetworkUnavailable` when the request or its answer is lost.
        """
        if breaks_the_network(card):
            raise NetworkUnavailable("the network cannot process this card now")
        reason = decline_code(card)
        values = {
            "state": NetworkState.DECLINED if reason else NetworkState.CAPTURED,
            "currency": currency,
            "captured_amount": 0 if reason else amount,
            "card_last4": card.last4,
            "decline_code": reason,
        }
        return await self._travel(lambda: self._remember(payment_key, values))

    async def refund(self, payment_key: str) -> NetworkRecord:
        """Give back what was captured for this key; when nothing was, refuse every charge that may still come.

        Raises `NetworkUnavailable` as `charge` does.
        """
        return await self._travel(lambda: self._give_back(payment_key))

    async def _travel(self, take_effect: Callable[[], Awaitable[NetworkRecord]]) -> NetworkRecord:
        behaviour = self._behaviour.current()
        latency, loss = behaviour.latency_seconds(self._random), behaviour.loss(self._random)
        await self._pass_time(latency / 2)
        if loss is Loss.REQUEST:
            raise NetworkUnavailable("the request was lost on its way")
        try:
            record = await take_effect()
        except DatabaseUnavailable as error:
            raise NetworkUnavailable("the network has a problem of its own") from error
        await self._pass_time(latency / 2)
        if loss is Loss.ANSWER:
            raise NetworkUnavailable("the answer was lost on its way")
        return record

    async def _pass_time(self, seconds: float) -> None:
        if seconds > 0:
            await self._sleep(seconds)

    async def _remember(self, payment_key: str, values: dict[str, Any]) -> NetworkRecord:
        new = self._row(payment_key, values)
        row, _ = await self._database.once(lambda connection: _ROWS.insert_or_find(connection, new))
        return _record(row)

    async def _give_back(self, payment_key: str) -> NetworkRecord:
        tombstone = self._row(payment_key, {"state": NetworkState.VOIDED, "captured_amount": 0})

        def give_back(connection: Connection) -> Found:
            row, inserted = _ROWS.insert_or_find(connection, tombstone)
            if inserted or row.state != NetworkState.CAPTURED:
                return row
            refund = {"key": payment_key, "state": NetworkState.REFUNDED, "updated_at": milliseconds(self._clock)}
            return _REFUND.run(connection, refund).one()

        return _record(await self._database.transact(give_back))

    def _row(self, payment_key: str, values: dict[str, Any]) -> dict[str, Any]:
        now = milliseconds(self._clock)
        return {
            "payment_key": payment_key,
            "reference": new_id("net"),
            "refunded_amount": 0,
            "updated_at": now,
            **values,
        }


def _record(row: Found) -> NetworkRecord:
    return NetworkRecord(
        reference=row.reference,
        state=NetworkState(row.state),
        currency=row.currency,
        captured_amount=row.captured_amount,
        refunded_amount=row.refunded_amount,
        card_last4=row.card_last4,
        decline_code=row.decline_code,
    )
