"""The ledger: double-entry and append-only.

An entry moves an amount from the account that it credits to the one that it debits, so the books balance by
construction; the view `ledger_lines` shows each entry as its two lines. The database refuses to change or remove an
entry, and to record a second capture or refund of one transaction.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, bindparam, case, func, insert, select

from services.payment.tables import ledger
from shared.chassis.prepared import Found, Prepared


class Account(StrEnum):
    """Where money is."""

    CARD_NETWORK = "card_network_receivable"  # an asset: what the network owes us
    SALES = "sales"  # income


class Kind(StrEnum):
    """What an entry records; each at most once a transaction."""

    CAPTURE = "capture"
    REFUND = "refund"


_DEBIT_CREDIT = {
    Kind.CAPTURE: (Account.CARD_NETWORK, Account.SALES),
    Kind.REFUND: (Account.SALES, Account.CARD_NETWORK),
}

OF_A_PAYMENT = {
    "transaction_id": "transaction_id",
    "amount": "amount",
    "currency": "currency",
    "recorded_at": "updated_at",
}
"""Columns of an entry, and those of the payment that they are taken from."""

_APPEND = Prepared(insert(ledger))
_ENTRIES = Prepared(
    select(ledger).where(ledger.c.transaction_id == bindparam("transaction_id")).order_by(ledger.c.entry_id)
)


def record(connection: Connection, kind: Kind, *, transaction_id: str, amount: int, currency: str, now: int) -> None:
    """Append one entry, in the caller's transaction: it stands or falls with the change of state that it belongs to."""
    entry = {"transaction_id": transaction_id, "amount": amount, "currency": currency, "recorded_at": now}
    _APPEND.run(connection, accounts(kind) | entry)


def accounts(kind: Kind) -> dict[str, Any]:
    """What an entry says beside what it has of the payment (`OF_A_PAYMENT`)."""
    debit, credit = _DEBIT_CREDIT[kind]
    return {"kind": kind, "debit_account": debit, "credit_account": credit}


def entries(connection: Connection, transaction_id: str) -> list[Found]:
    """All entries of one transaction, oldest first."""
    return list(_ENTRIES.run(connection, {"transaction_id": transaction_id}))


def owed_by_network(connection: Connection) -> dict[str, int]:
    """What the network owes us by the books, for each currency: captures less refunds."""
    signed = case((ledger.c.debit_account == Account.CARD_NETWORK, ledger.c.amount), else_=-ledger.c.amount)
    rows = connection.execute(select(ledger.c.currency, func.sum(signed)).group_by(ledger.c.currency))
    return {currency: int(total) for currency, total in rows}
