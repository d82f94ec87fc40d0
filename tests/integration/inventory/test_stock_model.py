"""Random calls against a model that is too simple to be wrong, on both databases."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete

from services.inventory.catalogue import Catalogue
from services.inventory.reservation import StockError
from services.inventory.restock import Restocking
from services.inventory.stock import Stock
from services.inventory.tables import products, reservations, restocks
from shared.chassis.database import Database
from shared.chassis.migrations import migrate
from tests.fixtures.examples import examples
from tests.integration.inventory.conftest import ENTRIES, MIGRATIONS
from tests.integration.inventory.parts import HandClock, Units, assert_sound, units

IDS = st.sampled_from([f"o{n}" for n in range(6)])
SKUS = st.sampled_from(["bell", "anchor", "cable"])
ITEMS = st.dictionaries(SKUS, st.integers(1, 6), min_size=1)


class Model:
    """Stock as a dictionary of free units and a dictionary of reservations."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.initial = {entry.sku: entry.stock for entry in ENTRIES}
        self.reservations: dict[str, tuple[str, dict[str, int], float]] = {}
        self.keys: dict[str, tuple[str, int]] = {}

    def sum(self, state: str, sku: str) -> int:
        return sum(items.get(sku, 0) for s, items, _ in self.reservations.values() if s == state)

    def free(self, sku: str) -> int:
        return self.initial[sku] - self.sum("HELD", sku) - self.sum("COMMITTED", sku)

    def reserve(self, name: str, items: dict[str, int], ttl: float) -> str:
        state, held, until = self.reservations.get(name, ("NONE", items, 0.0))
        if state in ("RELEASED", "RETURNED"):
            return "ReservationReleased"
        if held != items:
            return "ReservationConflict"
        if state == "COMMITTED" or (state == "HELD" and until > self.now):
            return "repeated"
        if state != "HELD" and any(self.free(sku) < quantity for sku, quantity in items.items()):
            return "InsufficientStock"
        self.reservations[name] = ("HELD", items, self.now + ttl)
        return "held" if state == "NONE" else "retaken"

    def commit(self, name: str) -> str:
        state, items, until = self.reservations.get(name, ("NONE", {}, 0.0))
        if state == "HELD":
            self.reservations[name] = ("COMMITTED", items, until)
        answers = {"HELD": "committed", "COMMITTED": "repeated", "EXPIRED": "HoldExpired", "NONE": "UnknownReservation"}
        return answers.get(state, "ReservationReleased")

    def release(self, name: str) -> str:
        state, items, until = self.reservations.get(name, ("NONE", {}, 0.0))
        if state in ("RELEASED", "RETURNED"):
            return "repeated"
        self.reservations[name] = ("RETURNED" if state == "COMMITTED" else "RELEASED", items, until)
        return "returned" if state == "COMMITTED" else "released"

    def expire(self, limit: int) -> int:
        due = sorted(
            (until, name)
            for name, (state, _, until) in self.reservations.items()
            if (state, until <= self.now) == ("HELD", True)
        )
        for until, name in due[:limit]:
            self.reservations[name] = ("EXPIRED", self.reservations[name][1], until)
        return min(limit, len(due))

    def restock(self, key: str, sku: str, quantity: int) -> str:
        if self.keys.setdefault(key, (sku, quantity)) != (sku, quantity):
            return "KeyReused"
        return "restocked"


class Bench:
    """The real thing: two replicas on one database, driven from a loop of its own."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self.run, self.clock = runner.run, HandClock()
        self.databases = [Database(url, synchronous="normal") for _ in range(2)]
        self.stocks = [Stock(database, self.clock) for database in self.databases]
        self.restocking = [Restocking(database, self.clock) for database in self.databases]

    async def empty(self) -> None:
        async with self.databases[0].write() as connection:
            for table in (products, reservations, restocks):
                await connection.execute(delete(table))
        await Catalogue(self.databases[0]).seed(ENTRIES)

    async def close(self) -> None:
        for database in self.databases:
            await database.close()


class Calls(RuleBasedStateMachine):
    """Calls at either replica; each run begins with an empty database."""

    bench: Bench

    def __init__(self) -> None:
        super().__init__()
        self.bench.run(self.bench.empty())
        self.model = Model(self.bench.clock.now())

    def _answer(self, call: Any) -> str:
        try:
            _, outcome = self.bench.run(call)
        except StockError as error:
            return type(error).__name__
        return outcome.value

    @rule(name=IDS, items=ITEMS, ttl=st.integers(1, 60), replica=st.integers(0, 1))
    def reserve(self, name: str, items: dict[str, int], ttl: int, replica: int) -> None:
        answer = self._answer(self.bench.stocks[replica].reserve(name, items, ttl))
        assert answer == self.model.reserve(name, items, ttl)

    @rule(name=IDS, replica=st.integers(0, 1))
    def reserve_again(self, name: str, replica: int) -> None:
        _, items, _ = self.model.reservations.get(name, ("", {"anchor": 1}, 0.0))
        answer = self._answer(self.bench.stocks[replica].reserve(name, items or {"anchor": 1}, 30))
        assert answer == self.model.reserve(name, items or {"anchor": 1}, 30)

    @rule(name=IDS, replica=st.integers(0, 1))
    def commit(self, name: str, replica: int) -> None:
        assert self._answer(self.bench.stocks[replica].commit(name)) == self.model.commit(name)

    @rule(name=IDS, replica=st.integers(0, 1))
    def release(self, name: str, replica: int) -> None:
        assert self._answer(self.bench.stocks[replica].release(name)) == self.model.release(name)

    @rule(seconds=st.integers(1, 40))
    def time_passes(self, seconds: int) -> None:
        self.bench.clock.pass_by(seconds)
        self.model.now = self.bench.clock.now()

    @rule(limit=st.integers(1, 3), replica=st.integers(0, 1))
    def expire(self, limit: int, replica: int) -> None:
        due = {until for state, _, until in self.model.reservations.values() if state == "HELD"}
        # among holds due at the same instant the database may choose, so then all are swept
        limit = limit if len(due) == sum(r[0] == "HELD" for r in self.model.reservations.values()) else 10
        assert self.bench.run(self.bench.stocks[replica].expire(limit)) == self.model.expire(limit)

    @rule(key=st.sampled_from(["k1", "k2", "k3"]), sku=SKUS, quantity=st.integers(1, 3), replica=st.integers(0, 1))
    def restock(self, key: str, sku: str, quantity: int, replica: int) -> None:
        new = key not in self.model.keys
        expected = self.model.restock(key, sku, quantity)
        try:
            self.bench.run(self.bench.restocking[replica].add(key, sku, quantity))
            answer = "restocked"
        except StockError as error:
            answer = type(error).__name__
        assert answer == expected
        if new:
            self.model.initial[sku] += quantity

    @invariant()
    def stock_is_what_the_model_says(self) -> None:
        self.bench.run(assert_sound(self.bench.databases[0]))
        for sku, found in self.bench.run(units(self.bench.databases[1])).items():
            held, sold = self.model.sum("HELD", sku), self.model.sum("COMMITTED", sku)
            assert found == Units(self.model.initial[sku], self.model.free(sku), held, sold)


@pytest.mark.slow
def test_any_sequence_of_calls_agrees_with_the_model(database_url: str) -> None:
    with asyncio.Runner() as runner:
        bench = Bench(runner, database_url)
        runner.run(migrate(bench.databases[0], MIGRATIONS))
        try:
            run_state_machine_as_test(
                type("BenchCalls", (Calls,), {"bench": bench}),
                settings=settings(
                    max_examples=examples(25),
                    stateful_step_count=30,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            with suppress(OSError):
                runner.run(bench.close())
