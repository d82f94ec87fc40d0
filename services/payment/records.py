"""Payments as they are stored: each method is one transaction, and changes a state only from the one expected.

PROCESSING -> CAPTURED -> REFUNDING -> REFUNDED
    |                         ^  \\--> VOIDED
    |-> DECLINED, VOIDED      |
    \\------------------------/         a refund of an unknown key begins in REFUNDING
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from services.payment import ledger
from services.payment.card_network import NetworkRecord, NetworkState
from services.payment.cards import Card
from services.payment.ledger import Kind
from services.payment.storage import KeyedRows
from services.payment.tables import ledger as ledger_entries
from services.payment.tables import payments
from shared.chassis.chained import Chained
from shared.chassis.clock import Clock, milliseconds
from shared.chassis.database import Database
from shared.chassis.ids import new_id
from shared.chassis.prepared import Found, Prepared


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


def _leaving(*states: State) -> ReturningUpdate[Any]:
    expected = or_(*(payments.c.state == state for state in states))
    return update(payments).where(payments.c.payment_key == bindparam("key"), expected).returning(payments)


_SETTLE, _SETTLE_REFUND = Prepared(_leaving(State.PROCESSING)), Prepared(_leaving(State.REFUNDING))
_CAPTURE = Chained(_leaving(State.PROCESSING), ledger_entries, taken=ledger.OF_A_PAYMENT)
_BEGIN_REFUND = Prepared(_leaving(State.PROCESSING, State.CAPTURED))
_ROWS = KeyedRows(payments)
_BY_KEY = Prepared(select(payments).where(payments.c.payment_key == bindparam("value")))
_BY_TRANSACTION = Prepared(select(payments).where(payments.c.transaction_id == bindparam("value")))


class PaymentRecords:
    """The payments of this service. `version` is kept with each payment that it brings further."""

    def __init__(self, database: Database, clock: Clock, *, version: str) -> None:
        self._database, self._clock, self._version = database, clock, version

    async def begin(self, charge: Charge) -> tuple[Payment, bool]:
        """Write the payment down in PROCESSING, or find the one that has this key; the second value: it is new."""
        new = self._new(
            charge.payment_key,
            State.PROCESSING,
            amount=charge.amount,
            currency=charge.currency,
            customer=charge.customer,
            card_last4=charge.card.last4,
        )
        row, new_key = await self._database.once(lambda connection: _ROWS.insert_or_find(connection, new))
        return _payment(row), new_key

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

        changes = self._changes(payment_key, values)
        captured = values["state"] is State.CAPTURED

        def settle(connection: Connection) -> tuple[Payment, bool]:
            row = (
                _CAPTURE.run(connection, changes, ledger.accounts(Kind.CAPTURE))
                if captured
                else _SETTLE.run(connection, changes).one_or_none()
            )
            if row is None:
                return _payment(_ROWS.find(connection, payment_key)), False
            return _payment(row), True

        return await self._database.once(settle)

    async def begin_refund(self, payment_key: str, reason: str) -> Payment:
        """Turn the payment to REFUNDING, making it when there is none; one that cannot be refunded stays as it is."""
        new = self._new(payment_key, State.REFUNDING, refund_reason=reason)
        values = {"state": State.REFUNDING, "refund_reason": reason}

        def begin(connection: Connection) -> Found:
            row, inserted = _ROWS.insert_or_find(connection, new)
            if inserted or row.state not in (State.PROCESSING, State.CAPTURED):
                return row
            moved = self._move(connection, _BEGIN_REFUND, payment_key, values)
            return _ROWS.find(connection, payment_key) if moved is None else moved

        return _payment(await self._database.transact(begin))

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

        def settle(connection: Connection) -> tuple[Payment, bool]:
            row = self._move(connection, _SETTLE_REFUND, payment_key, values)
            if row is None:
                return _payment(_ROWS.find(connection, payment_key)), False
            if row.state == State.REFUNDED:
                known = {entry.kind for entry in ledger.entries(connection, row.transaction_id)}
                if Kind.CAPTURE not in known:
                    _enter(connection, Kind.CAPTURE, row)
                _enter(connection, Kind.REFUND, row)
            return _payment(row), True

        return await self._database.transact(settle)

    async def by_key(self, payment_key: str) -> Payment | None:
        """The payment with this key."""
        return await self._read(_BY_KEY, payment_key)

    async def by_transaction(self, transaction_id: str) -> Payment | None:
        """The payment with this transaction id."""
        return await self._read(_BY_TRANSACTION, transaction_id)

    async def _read(self, query: Prepared, value: str) -> Payment | None:
        row = await self._database.query(lambda connection: query.run(connection, {"value": value}).one_or_none())
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

    def _changes(self, payment_key: str, values: dict[str, Any]) -> dict[str, Any]:
        return {
            **values,
            "key": payment_key,
            "processed_by": self._version,
            "updated_at": milliseconds(self._clock),
        }

    def _move(self, connection: Connection, change: Prepared, payment_key: str, values: dict[str, Any]) -> Found | None:
        return change.run(connection, self._changes(payment_key, values)).one_or_none()


def _enter(connection: Connection, kind: Kind, row: Found) -> None:
    ledger.record(
        connection,
        kind,
        transaction_id=row.transaction_id,
        amount=row.amount,
        currency=row.currency,
        now=row.updated_at,
    )


def _payment(row: Found) -> Payment:
    values = {name: getattr(row, name) for name in _FIELDS}
    return Payment(**values | {"state": State(row.state)})
