"""What one order costs: CPU time, statements, commits and memory of every process, and the pace that comes of it.

    python -m tests.bench.bench_order_path [--orders 400] [--concurrency 8] [--rounds 3] [--idle 10] [--soak 0]

Run it by `make bench-order`. It starts a stack of its own, with one replica a service, on free ports. CPU time is what
counts: unlike orders a second it hardly depends on what else the machine does. Of the rounds the median counts.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from infra.local.harness import running_stack
from infra.local.stack import LocalStack

SERVICES = ("order-1", "payment-1", "payment-v2-1", "inventory-1")
COUNTERS = ("db_statements_total", "db_commits_total")
MEMORY_LIMIT_MB = 450
ORDER = {
    "customer": "ada",
    "currency": "EUR",
    "items": [{"sku": "mug-enamel", "quantity": 1}],
    "payment_method": {"type": "card", "number": "4242424242424242"},
}


@dataclass(frozen=True)
class Reading:
    """One process at one time: CPU seconds since its start, and its database counters."""

    cpu: float
    counters: dict[str, float]


class Watched:
    """The processes of a stack that a bench looks at."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self.processes = {name: psutil.Process(stack.pids(name)[name]) for name in (*SERVICES, "nats")}

    def read(self) -> dict[str, Reading]:
        readings = {}
        for name, process in self.processes.items():
            counters = self._counters(name) if name in SERVICES else dict.fromkeys(COUNTERS, 0.0)
            times = process.cpu_times()
            readings[name] = Reading(times.user + times.system, counters)
        return readings

    def megabytes(self) -> dict[str, float]:
        return {name: process.memory_info().rss / 1_000_000 for name, process in self.processes.items()}

    def _counters(self, name: str) -> dict[str, float]:
        with urlopen(f"{self._stack.url(name)}/metrics", timeout=5) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return {s.name: s.value for family in families for s in family.samples if s.name in COUNTERS}


async def send(url: str, orders: int, concurrency: int) -> list[float]:
    """Place so many orders, so many at a time; the seconds that each took."""
    run, numbers = uuid.uuid4().hex[:12], iter(range(orders))
    seconds: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def customer() -> None:
            for number in numbers:
                began = time.perf_counter()
                headers = {"Idempotency-Key": f"{run}-{number}"}
                async with session.post(f"{url}/orders", json=ORDER, headers=headers) as answer:
                    body = await answer.text()
                    if answer.status != 201:
                        raise SystemExit(f"an order was answered {answer.status}: {body}")
                seconds.append(time.perf_counter() - began)

        await asyncio.gather(*(customer() for _ in range(concurrency)))
    return sorted(seconds)


def rounds_of_orders(stack: LocalStack, watched: Watched, wanted: argparse.Namespace) -> Iterator[dict[str, Reading]]:
    """What each round cost, an order."""
    for number in range(1, wanted.rounds + 1):
        before, began = watched.read(), time.perf_counter()
        seconds = asyncio.run(send(stack.url("order"), wanted.orders, wanted.concurrency))
        pace, after = wanted.orders / (time.perf_counter() - began), watched.read()
        say(
            f"round {number}: {pace:.0f} orders/s, p50 {seconds[len(seconds) // 2] * 1000:.0f} ms,"
            f" p99 {seconds[int(len(seconds) * 0.99)] * 1000:.0f} ms"
        )
        yield {
            name: Reading(
                (after[name].cpu - before[name].cpu) / wanted.orders,
                {c: (after[name].counters[c] - before[name].counters[c]) / wanted.orders for c in COUNTERS},
            )
            for name in after
        }


def idle(watched: Watched, seconds: float) -> dict[str, float]:
    """Percent of one core that each process takes with nothing to do."""
    before = watched.read()
    time.sleep(seconds)
    after = watched.read()
    return {name: 100 * (after[name].cpu - before[name].cpu) / seconds for name in after}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--orders", type=int, default=400, help="orders a round")
    arguments.add_argument("--concurrency", type=int, default=8)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--idle", type=float, default=10, help="seconds to watch the idle platform")
    arguments.add_argument("--soak", type=int, default=0, help="orders to place before memory is measured")
    wanted = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory, running_stack(Path(directory) / "local", traces="on") as stack:
        watched = Watched(stack)
        asyncio.run(send(stack.url("order"), 100, wanted.concurrency))
        resting = idle(watched, wanted.idle) if wanted.idle else {}
        costs = list(rounds_of_orders(stack, watched, wanted))
        if wanted.soak:
            asyncio.run(send(stack.url("order"), wanted.soak, wanted.concurrency))
        report(costs, resting, watched.megabytes())


def report(costs: list[dict[str, Reading]], resting: dict[str, float], megabytes: dict[str, float]) -> None:
    say(f"\n{'':14} {'CPU ms/order':>12} {'statements':>10} {'commits':>8} {'idle CPU':>9} {'resident':>9}")
    total = 0.0
    for name, resident in megabytes.items():
        cpu = statistics.median(cost[name].cpu for cost in costs) * 1000
        statements, commits = (statistics.median(cost[name].counters[c] for cost in costs) for c in COUNTERS)
        total += cpu
        rest = f"{resting[name]:7.1f} %" if resting else ""
        say(f"{name:14} {cpu:12.2f} {statements:10.1f} {commits:8.1f} {rest:>9} {resident:6.0f} MB")
    say(f"{'all':14} {total:12.2f} {'':29} {sum(megabytes.values()):6.0f} MB (limit {MEMORY_LIMIT_MB})")
    say(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
