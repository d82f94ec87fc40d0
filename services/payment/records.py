"""Payments as they are stored: each method is one transaction, and changes a state only from the one expected.

PROCESSING -> CAPTURED -> REFUNDING -> REFUNDED
    |                         ^  \\--> VOIDED
    |-> DECLINED, VOIDED      |
    \\------------------------/         a refund of an unknown key begins in REFUNDING
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from services.payment import ledger
from services.payment.card_network import NetworkRecord, NetworkState
from services.payment.cards import Card
from services.payment.ledger import Kind
from services.payment.storage import insert_or_find
from services.payment.tables import payments
from shared.chassis.clock import Clock, milliseconds
from shared.chassis.database import Database
from shared.chassis.ids import new_id


class State(StrEnum):
    """Where a payment stands."""

    PROCESSING = "PROCESSING"
    CAPTURED = "CAPTURED"
    DECLINED = "DECLINED"
    REFUNDING = "REFUNDING"
    REFUNDED = "REFUNDED"
    VOIDED = "VOIDED"


@dataclass(frozen=True, slots=True)
class Charge:
    """What a caller asks for: `amount` minor units of `currency`, once for this key."""

    payment_key: str
    amount: int
    currency: str
    customer: str
    card: Card


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as stored. Amount, currency, customer and card are unknown for a key that was never charged."""

    transaction_id: str
    payment_key: str
    state: State
    amount: int | None
    currency: str | None
    customer: str | None
    card_last4: str | None
    decline_code: str | None
    refunded_amount: int
    network_reference: str | None
    processed_by: str
    updated_at: int

    def contradicts(self, charge: Charge) -> bool:
        """Whether the key belongs to another amount or currency."""
        return self.amount is not None and (self.amount, self.currency) != (charge.amount, charge.currency)


_FIELDS = tuple(field.name for field in fields(Payment))
_SETTLED = {
    NetworkState.CAPTURED: State.CAPTURED,
    NetworkState.DECLINED: State.DECLINED,
    NetworkState.REFUNDED: State.VOIDED,
    NetworkState.VOIDED: State.VOIDED,
}


class PaymentRecords:
    """The payments of this service. `version` is kept with each payment that it brings further."""

    def __init__(self, database: Database, clock: Clock, *, version: str) -> None:
        self._database, self._clock, self._version = database, clock, version

    async def begin(self, charge: Charge) -> Payment:
        """Write the payment down in PROCESSING, or find the one that has this key."""
        async with self._database.write() as connection:
            row, _ = await insert_or_find(
                connection,
                payments,
                self._new(
                    charge.payment_key,
                    State.PROCESSING,
                    amount=charge.amount,
                    currency=charge.currency,
                    customer=charge.customer,
                    card_last4=charge.card.last4,
                ),
            )
            return _payment(row)

    async def settle(self, payment_key: str, answer: NetworkRecord) -> tuple[Payment, bool]:
        """Write what the network answered to a charge, and the ledger entry, if the payment is still PROCESSING.

        Returns the payment as it then stands, and whether this call has brought it there.
        """
        values = {
            "state": _SETTLED[answer.state],
            "card_last4": answer.card_last4,
            "decline_code": answer.decline_code,
            "network_reference": answer.reference,
        }
        async with self._database.write() as connection:
            row = await self._move(connection, payment_key, payments.c.state == State.PROCESSING, values)
            if row is None:
                return await _find(connection, payment_key), False
            if row.state == State.CAPTURED:
                await self._enter(connection, Kind.CAPTURE, row)
            return _payment(row), True

    async def begin_refund(self, payment_key: str, reason: str) -> Payment:
        """Turn the payment to REFUNDING, making it when there is none; one that cannot be refunded stays as it is."""
        async with self._database.write() as connection:
            new = self._new(payment_key, State.REFUNDING, refund_reason=reason)
            row, inserted = await insert_or_find(connection, payments, new)
            if not inserted and row.state in (State.PROCESSING, State.CAPTURED):
                chargeable = payments.c.state.in_((State.PROCESSING, State.CAPTURED))
                values = {"state": State.REFUNDING, "refund_reason": reason}
                moved = await self._move(connection, payment_key, chargeable, values)
                return await _find(connection, payment_key) if moved is None else _payment(moved)
            return _payment(row)

    async def settle_refund(self, payment_key: str, answer: NetworkRecord) -> tuple[Payment, bool]:
        """Write what the network answered to a refund, and the ledger entries, if the payment is still REFUNDING.

        A capture that the network knows of and the ledger does not (its answer was lost) is entered first. Returns as
        `settle` does.
        """
        values: dict[str, Any] = {
            "state": State.REFUNDED if answer.refunded_amount else State.VOIDED,
            "refunded_amount": answer.refunded_amount,
            "network_reference": answer.reference,
        }
        if answer.captured_amount:
            values |= {
                "amount": answer.captured_amount,
                "currency": answer.currency,
                "card_last4": answer.card_last4,
            }
        async with self._database.write() as connection:
            row = await self._move(connection, payment_key, payments.c.state == State.REFUNDING, values)
            if row is None:
                return await _find(connection, payment_key), False
            if row.state == State.REFUNDED:
                known = {entry.kind for entry in await ledger.entries(connection, row.transaction_id)}
                if Kind.CAPTURE not in known:
                    await self._enter(connection, Kind.CAPTURE, row)
                await self._enter(connection, Kind.REFUND, row)
            return _payment(row), True

    async def by_key(self, payment_key: str) -> Payment | None:
        """The payment with this key."""
        return await self._read(payments.c.payment_key == payment_key)

    async def by_transaction(self, transaction_id: str) -> Payment | None:
        """The payment with this transaction id."""
        return await self._read(payments.c.transaction_id == transaction_id)

    async def _read(self, condition: ColumnElement[bool]) -> Payment | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(payments).where(condition))).one_or_none()
            return None if row is None else _payment(row)

    def _new(self, payment_key: str, state: State, **values: Any) -> dict[str, Any]:
        now = milliseconds(self._clock)
        return {
            "transaction_id": new_id("pay"),
            "payment_key": payment_key,
            "state": state,
            "refunded_amount": 0,
            "processed_by": self._version,
            "created_at": now,
            "updated_at": now,
            **values,
        }

    async def _move(
        self, connection: AsyncConnection, payment_key: str, condition: ColumnElement[bool], values: dict[str, Any]
    ) -> Row[Any] | None:
        change = (
            update(payments)
            .where(payments.c.payment_key == payment_key, condition)
            .values(processed_by=self._version, updated_at=milliseconds(self._clock), **values)
            .returning(payments)
        )
        return (await connection.execute(change)).one_or_none()

    async def _enter(self, connection: AsyncConnection, kind: Kind, row: Row[Any]) -> None:
        await ledger.record(
            connection,
            kind,
            transaction_id=row.transaction_id,
            amount=row.amount,
            currency=row.currency,
            now=row.updated_at,
        )


async def _find(connection: AsyncConnection, payment_key: str) -> Payment:
    row = (await connection.execute(select(payments).where(payments.c.payment_key == payment_key))).one()
    return _payment(row)


def _payment(row: Row[Any]) -> Payment:
    values = {name: getattr(row, name) for name in _FIELDS}
    return Payment(**values | {"state": State(row.state)})
