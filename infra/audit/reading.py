"""Reads the evidence: plain SQL over the tables of the three services."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from infra.audit.databases import Snapshot, snapshot
from infra.audit.records import Answer, Balance, Charge, Entry, Evidence, Items, Order, Payment, Product, Reservation

_ORDERS = """
    SELECT id, idempotency_key, state, currency, total_amount, CAST(items AS TEXT) AS items, updated_at
    FROM orders
"""
_CONFIRMED_ONCE = "SELECT DISTINCT order_id FROM order_steps WHERE state = 'CONFIRMED'"
_PAYMENTS = "SELECT transaction_id, payment_key, state, updated_at FROM payments"
_CHARGES = "SELECT payment_key, currency, captured_amount, refunded_amount FROM card_network_charges"
_ENTRIES = "SELECT transaction_id, kind, currency, amount FROM ledger"
_BALANCES = """
    SELECT transaction_id, currency, SUM(debit) AS debit, SUM(credit) AS credit,
           SUM(CASE WHEN account IS NULL THEN 1 ELSE 0 END) AS nameless
    FROM ledger_lines
    GROUP BY transaction_id, currency
"""
_PRODUCTS = "SELECT sku, initial, free, held, sold FROM products"
_RESERVATIONS = "SELECT id, state, CAST(items AS TEXT) AS items FROM reservations"


@dataclass(frozen=True, slots=True)
class Urls:
    """Where the three databases are."""

    order: str
    payment: str
    inventory: str


async def read(
    urls: Urls, *, answers: Sequence[Answer] = (), recovery_seconds: float = 60.0, all_settled: bool = False
) -> Evidence:
    """All that the checks look at. Raises `Unreadable`.

    recovery_seconds: how long an order may be under way since it was last touched
    all_settled: the load is over and the platform healed, so nothing may be under way
    """
    before = await _orders(urls.order)
    money, stock = await asyncio.gather(_money(urls.payment), _stock(urls.inventory))
    async with snapshot("order", urls.order) as database:
        rows = await database.rows(_ORDERS)
        confirmed = await database.rows(_CONFIRMED_ONCE)
    return Evidence(
        orders=before,
        orders_after={row.id: _order(row) for row in rows},
        confirmed_once=frozenset(row.order_id for row in confirmed),
        shared_keys=_shared_keys(rows),
        **money,
        **stock,
        read_at=int(time.time() * 1000),
        answers=answers,
        recovery_ms=int(recovery_seconds * 1000),
        all_settled=all_settled,
    )


async def _orders(url: str) -> Mapping[str, Order]:
    async with snapshot("order", url) as database:
        return {row.id: _order(row) for row in await database.rows(_ORDERS)}


async def _money(url: str) -> dict[str, Any]:
    async with snapshot("payment", url) as database:
        return {
            "payments": [
                Payment(row.transaction_id, row.payment_key, row.state, row.updated_at)
                for row in await database.rows(_PAYMENTS)
            ],
            "charges": [
                Charge(row.payment_key, row.currency, row.captured_amount, row.refunded_amount)
                for row in await database.rows(_CHARGES)
            ],
            "entries": [
                Entry(row.transaction_id, row.kind, row.currency, row.amount) for row in await database.rows(_ENTRIES)
            ],
            "balances": await _balances(database),
        }


async def _balances(database: Snapshot) -> list[Balance]:
    # Postgres adds bigints up to a numeric
    return [
        Balance(row.transaction_id, row.currency, int(row.debit or 0), int(row.credit or 0), int(row.nameless))
        for row in await database.rows(_BALANCES)
    ]


async def _stock(url: str) -> dict[str, Any]:
    async with snapshot("inventory", url) as database:
        return {
            "products": [
                Product(row.sku, row.initial, row.free, row.held, row.sold) for row in await database.rows(_PRODUCTS)
            ],
            "reservations": [
                Reservation(row.id, row.state, _items(row.items)) for row in await database.rows(_RESERVATIONS)
            ],
        }


def _order(row: Row[Any]) -> Order:
    return Order(
        id=row.id,
        idempotency_key=row.idempotency_key,
        state=row.state,
        currency=row.currency,
        total=row.total_amount,
        items=_items(row.items),
        updated_at=row.updated_at,
    )


def _items(text: str) -> Items:
    added: Counter[str] = Counter()
    for line in json.loads(text):
        added[line["sku"]] += line["quantity"]
    return added


def _shared_keys(rows: Sequence[Row[Any]]) -> Mapping[str, Sequence[str]]:
    orders: dict[str, list[str]] = {}
    for row in rows:
        if row.idempotency_key is not None:
            orders.setdefault(row.idempotency_key, []).append(row.id)
    return {key: ids for key, ids in orders.items() if len(ids) > 1}
