"""A small platform at rest, as rows, to be broken in one place and audited.

The tables are the services' own, but without their constraints: what those refuse is what the auditor must see.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Column, MetaData, Table, text
from sqlalchemy.ext.asyncio import create_async_engine

from infra.audit.__main__ import main
from services.inventory.tables import products, reservations
from services.order.tables import orders, steps
from services.payment.tables import card_network_charges, ledger, payments

HOUR_MS = 3_600_000
ITEMS = [{"sku": "bell", "quantity": 2, "unit_price": 1000}, {"sku": "anchor", "quantity": 1, "unit_price": 500}]
TOTAL = 2500
Row = dict[str, Any]

_OPEN = MetaData()
for _table in (orders, steps, payments, ledger, card_network_charges, products, reservations):
    Table(_table.name, _OPEN, *(Column(c.name, c.type, nullable=True) for c in _table.columns))

_LINES = """
    CREATE VIEW ledger_lines AS
    SELECT entry_id, transaction_id, kind, debit_account AS account,
           amount AS debit, 0 AS credit, currency, recorded_at
    FROM ledger
    UNION ALL
    SELECT entry_id, transaction_id, kind, credit_account AS account,
           0 AS debit, amount AS credit, currency, recorded_at
    FROM ledger
"""


@dataclass
class World:
    """Rows by table. `add_order` keeps the others in step with an order; tests then spoil one of them."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in _OPEN.tables})
    lines: str = _LINES
    answers: list[Row] = field(default_factory=list)
    now: int = field(default_factory=lambda: int(time.time() * 1000))

    @property
    def long_ago(self) -> int:
        return self.now - HOUR_MS

    def add_order(self, name: str, state: str, *, money: str = "", stock: str = "", age_ms: int = HOUR_MS) -> None:
        at = self.now - age_ms
        self.rows["orders"].append(
            {
                "id": name,
                "idempotency_key": f"key-{name}",
                "state": state,
                "currency": "EUR",
                "total_amount": TOTAL,
                "items": ITEMS,
                "updated_at": at,
            }
        )
        if money:
            self.add_payment(name, money, at)
        if stock:
            self.add_reservation(name, stock)

    def add_payment(self, name: str, state: str, at: int = 0) -> None:
        captured = TOTAL if state in ("CAPTURED", "REFUNDED") else 0
        refunded = TOTAL if state == "REFUNDED" else 0
        self.rows["payments"].append(
            {"transaction_id": f"txn-{name}", "payment_key": name, "state": state, "updated_at": at or self.long_ago}
        )
        self.add_charge(name, captured, refunded)
        if captured:
            self.add_entry(name, "capture", captured)
        if refunded:
            self.add_entry(name, "refund", refunded)

    def add_charge(self, name: str, captured: int, refunded: int = 0) -> None:
        self.rows["card_network_charges"].append(
            {"payment_key": name, "currency": "EUR", "captured_amount": captured, "refunded_amount": refunded}
        )

    def add_entry(self, name: str, kind: str, amount: int) -> None:
        accounts = ("card_network_receivable", "sales")
        debit, credit = accounts if kind == "capture" else accounts[::-1]
        self.rows["ledger"].append(
            {
                "entry_id": len(self.rows["ledger"]) + 1,
                "transaction_id": f"txn-{name}",
                "kind": kind,
                "debit_account": debit,
                "credit_account": credit,
                "amount": amount,
                "currency": "EUR",
            }
        )

    def add_reservation(self, name: str, state: str) -> None:
        items = {line["sku"]: line["quantity"] for line in ITEMS}
        self.rows["reservations"].append({"id": name, "state": state, "items": items})
        kind = {"HELD": "held", "COMMITTED": "sold"}.get(state)
        for sku, quantity in items.items() if kind else ():
            self.one("products", sku=sku)[kind] += quantity
            self.one("products", sku=sku)["free"] -= quantity

    def add_product(self, sku: str, initial: int) -> None:
        self.rows["products"].append({"sku": sku, "initial": initial, "free": initial, "held": 0, "sold": 0})

    def answer(self, name: str, status: int) -> None:
        self.answers.append({"idempotency_key": f"key-{name}", "status": status, "id": name, "seconds": 0.1})

    def one(self, table: str, **where: Any) -> Row:
        """The row with these values."""
        (row,) = (row for row in self.rows[table] if where.items() <= row.items())
        return row

    async def _store(self, urls: dict[str, str]) -> None:
        for url in set(urls.values()):
            engine = create_async_engine(url)
            async with engine.begin() as connection:
                await connection.run_sync(_OPEN.create_all)
                await connection.execute(text(self.lines))
                for name, rows in self.rows.items():
                    blank = dict.fromkeys(_OPEN.tables[name].columns.keys())
                    await connection.execute(_OPEN.tables[name].insert(), [{**blank, **row} for row in rows])
            await engine.dispose()

    def audit(self, urls: dict[str, str], directory: Path, *options: str) -> "Outcome":
        """Store everything, run the auditor's command on it, and read its verdicts."""
        asyncio.run(self._store(urls))
        told = directory / "answers.jsonl"
        told.write_text("".join(json.dumps(answer) + "\n" for answer in self.answers))
        verdicts = directory / "verdicts.json"
        places = [part for service, url in urls.items() for part in (f"--{service}", url)]
        code = main([*places, "--answers", str(told), "--json", str(verdicts), *options])
        return Outcome(code, json.loads(verdicts.read_text()))


@dataclass(frozen=True)
class Outcome:
    code: int
    verdicts: Row

    @property
    def broken(self) -> dict[str, list[str]]:
        """Who breaks which invariant."""
        return {
            verdict["name"]: sorted({offender["subject"] for offender in verdict["offenders"]})
            for verdict in self.verdicts["invariants"]
            if verdict["broken"]
        }


def sound_world() -> World:
    """Every way an order can end, and orders under way, each with the money and stock that belong to it."""
    world = World()
    for sku in ("bell", "anchor", "cable"):
        world.add_product(sku, 100)
    world.add_order("sold", "CONFIRMED", money="CAPTURED", stock="COMMITTED")
    world.add_order("cancelled", "CANCELLED", money="REFUNDED", stock="RETURNED")
    world.rows["order_steps"] += [
        {"order_id": "sold", "seq": 3, "state": "CONFIRMED", "at": world.long_ago, "detail": ""},
        {"order_id": "cancelled", "seq": 3, "state": "CONFIRMED", "at": world.long_ago, "detail": ""},
        {"order_id": "cancelled", "seq": 4, "state": "CANCELLING", "at": world.long_ago, "detail": ""},
    ]
    world.add_order("given-up", "CANCELLED", money="VOIDED", stock="RELEASED")
    world.add_order("declined", "DECLINED", money="DECLINED", stock="RELEASED")
    world.add_order("rejected", "REJECTED")
    world.add_order("failed", "FAILED", stock="RELEASED")
    # under way, and young: half of what will be there is there
    world.add_order("reserving", "RESERVING", stock="HELD", age_ms=1_000)
    world.add_order("charging", "CHARGING", stock="HELD", age_ms=1_000)
    world.add_payment("charging", "PROCESSING", world.now - 1_000)
    world.one("card_network_charges", payment_key="charging")["captured_amount"] = TOTAL
    world.add_order("pending", "PENDING_PAYMENT", money="PROCESSING", stock="EXPIRED", age_ms=1_000)
    world.add_order("confirming", "CONFIRMING", money="CAPTURED", stock="HELD", age_ms=1_000)
    world.add_order("cancelling", "CANCELLING", money="CAPTURED", stock="COMMITTED", age_ms=1_000)
    for name, status in (("sold", 201), ("cancelled", 201), ("given-up", 202), ("pending", 202), ("declined", 402)):
        world.answer(name, status)
    world.answers.append({"idempotency_key": "key-lost", "status": 503, "id": None})
    return world
