"""A payment service without its HTTP surface: the parts under test, put together over a migrated database."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from prometheus_client import CollectorRegistry
from sqlalchemy import select

import services.payment
from services.payment import ledger
from services.payment.behaviour import Behaviour, BehaviourSwitch
from services.payment.card_network import SimulatedCardNetwork
from services.payment.cards import Card
from services.payment.gateway import Gateway
from services.payment.payments import Payments
from services.payment.records import Charge, PaymentRecords
from services.payment.tables import card_network_charges, payments
from shared.chassis.clock import SystemClock
from shared.chassis.database import Database

MIGRATIONS = Path(services.payment.__file__).parent / "migrations"
GOOD, POOR, BROKEN = Card("4242424242424242"), Card("4000000000009995"), Card("4000000000000119")
RELIABLE = Behaviour()
LOSES_REQUESTS = Behaviour(lost_requests=1.0)
LOSES_ANSWERS = Behaviour(lost_answers=1.0)

Sleep = Callable[[float], Awaitable[None]]


@dataclass
class Till:
    """One replica. Several over one database are several replicas of a service, and one network behind them."""

    database: Database
    payments: Payments
    network: SimulatedCardNetwork
    switch: BehaviourSwitch
    metrics: CollectorRegistry

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.get_sample_value(name, labels) or 0.0


def make_till(
    database: Database,
    behaviour: Behaviour = RELIABLE,
    *,
    version: str = "v1",
    sleep: Sleep = asyncio.sleep,
    limit_seconds: float = 30.0,
    forgets: Callable[[], bool] = lambda: False,
) -> Till:
    clock, switch, metrics = SystemClock(), BehaviourSwitch(behaviour), CollectorRegistry()
    network = SimulatedCardNetwork(database, clock, switch, Random(7), sleep=sleep)
    gateway = Gateway(network, limit_seconds=limit_seconds, metrics=metrics)
    records = PaymentRecords(database, clock, version=version)
    return Till(database, Payments(records, gateway, metrics, forgets), network, switch, metrics)


def charge(key: str = "order-1", amount: int = 1299, currency: str = "EUR", card: Card = GOOD) -> Charge:
    return Charge(key, amount, currency, "ada", card)


async def network_memory(database: Database) -> dict[str, tuple[str, int, int]]:
    """What the network knows: state, captured and refunded amount of each key."""
    columns = card_network_charges.c
    async with database.read() as connection:
        rows = await connection.execute(
            select(columns.payment_key, columns.state, columns.captured_amount, columns.refunded_amount)
        )
        return {key: (state, captured, refunded) for key, state, captured, refunded in rows}


async def ledger_kinds(database: Database, transaction_id: str) -> list[str]:
    async with database.read() as connection:
        return [entry.kind for entry in await connection.run_sync(ledger.entries, transaction_id)]


async def states(database: Database) -> dict[str, str]:
    async with database.read() as connection:
        rows = await connection.execute(select(payments.c.payment_key, payments.c.state))
        return {key: state for key, state in rows}  # noqa: C416 - rows are not pairs to dict()


async def audit(database: Database) -> None:
    """With nothing under way: the books say of every payment what the network says, and of the money too."""
    network = await network_memory(database)
    async with database.read() as connection:
        rows = list(await connection.execute(select(payments)))
        books = {row.payment_key: await connection.run_sync(ledger.entries, row.transaction_id) for row in rows}
        owed = await connection.run_sync(ledger.owed_by_network)
    assert set(network) <= set(books), "the network charged a key that the service does not know"
    net_at_network: dict[str, int] = {}
    for row in rows:
        state, captured, refunded = network[row.payment_key]
        entries = {entry.kind: entry.amount for entry in books[row.payment_key]}
        assert row.state in {"CAPTURED", "DECLINED", "REFUNDED", "VOIDED"}, f"{row.payment_key} is left {row.state}"
        assert entries.get("capture", 0) == captured
        assert entries.get("refund", 0) == refunded == row.refunded_amount
        assert (row.state == "CAPTURED") == (state == "CAPTURED")
        assert (row.state == "REFUNDED") == (state == "REFUNDED")
        if row.currency is not None:
            net_at_network[row.currency] = net_at_network.get(row.currency, 0) + captured - refunded
    assert {c: n for c, n in owed.items() if n} == {c: n for c, n in net_at_network.items() if n}
