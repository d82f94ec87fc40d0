"""What happens to throughput, latency, memory and disk as things grow. Each is a curve; what should be flat is a bar.

    python -m tests.bench.bench_growth [--most 1000000] [--parts replicas orders connections outage]

replicas: orders a second with 1, 2 and 4 replicas of every service, on Postgres. orders: latency of the API while the
databases hold 10^3, 10^5 and 10^6 orders, each with its steps, payment, ledger entry and hold. connections: memory of
the order service while so many clients keep a connection open. outage: outbox and logs over 30 minutes without broker
and payment at 20 orders/s; the first orders are real, the rest of the half hour are copies of their messages.
"""

import argparse
import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import psutil

from infra.local.stack import LocalStack
from tests.bench import stored
from tests.bench.figures import Slice, percentile
from tests.bench.load import BODY, closed_loop, run
from tests.bench.sides import AS_MANY_PROCESSES, Side, our_side, workplace
from tests.bench.tables import Bar, Page

REPLICAS = (1, 2, 4)
SERVICES = ("order", "payment", "inventory")
ORDERS = (1_000, 100_000, 1_000_000)
CONNECTIONS = (10, 100, 1_000)
OUTAGE_MINUTES, OUTAGE_RATE = (1, 5, 10, 20, 30), 20
FLAT = 1.5
"""How much slower the largest may be than the smallest, to count as flat on a machine that is not quiet."""
KILOBYTES_A_CONNECTION = 100


def replicas(page: Page) -> None:
    """Orders a second against replicas."""
    page.heading("Growth: replicas")
    rows = []
    wanted = {f"slots_{service}": max(REPLICAS) for service in SERVICES}
    with _stack(database="postgres", **AS_MANY_PROCESSES, **wanted) as (side, stack):
        for count in REPLICAS:
            for service in SERVICES:
                stack.scale(service, count)
            run(closed_loop(side.url, 32, 1.5))
            found = Slice.of(run(closed_loop(side.url, 32, 5.0)), 5.0)
            rows.append([str(count), f"{found.pace:.0f}", f"{found.p50 * 1000:.0f}", f"{found.p99 * 1000:.0f}"])
    page.table(["replicas of each service", "orders/s", "p50 ms", "p99 ms"], rows)
    page.line(f"{psutil.cpu_count()} cores share the services, Postgres and the load: more replicas cannot add cores.")


def orders(page: Page, most: int) -> None:
    """Latency against stored orders."""
    page.heading("Growth: stored orders")
    asked = ("POST /orders", "GET /orders/{id}", "GET /orders", "GET /orders?state=CONFIRMED", "GET /orders, far back")
    medians: list[list[float]] = []
    sizes = []
    with _stack(**AS_MANY_PROCESSES, traces="off") as (side, stack):
        data = stack.state.data
        order_id = _place(side.url, "the-pattern")["id"]
        run(closed_loop(side.url, 4, 1.0))
        before = 1
        counts = [count for count in ORDERS if count <= most]
        for count in counts:
            stored.fill(data, order_id, before, count)
            before = count + 1
            medians.append(_latencies(side.url, order_id, before // 2))
            sizes.append(sum(stored.size(data, service) for service in SERVICES))
    rows = [
        [what, *(f"{medians[column][row] * 1000:.1f}" for column in range(len(counts)))]
        for row, what in enumerate(asked)
    ]
    page.line("Median milliseconds, one customer at a time, SQLite.")
    page.table(["", *(f"{count:,} stored" for count in counts)], rows)
    page.line("Databases: " + ", ".join(f"{megabytes:.0f} MB" for megabytes in sizes) + ".")
    worst = max(last / first for first, last in zip(medians[0], medians[-1], strict=True))
    page.bar(
        Bar(f"latency with {counts[-1]:,} stored orders / with {counts[0]:,}, the worst of them", worst, most=FLAT)
    )


def connections(page: Page) -> None:
    """Memory against open connections."""
    page.heading("Growth: open connections")
    rows, memory = [], []
    with _stack(**AS_MANY_PROCESSES) as (side, stack):
        process = psutil.Process(stack.pids("order-1")["order-1"])
        run(closed_loop(side.url, 16, 2.0))
        with ExitStack() as opened:
            there = 0
            for count in CONNECTIONS:
                for _ in range(count - there):
                    opened.enter_context(_connection(side.url))
                there = count
                time.sleep(0.5)
                memory.append(process.memory_info().rss / 1e6)
                rows.append([f"{count:,}", f"{memory[-1]:.1f}"])
    page.table(["open connections", "order service, MB"], rows)
    each = (memory[-1] - memory[0]) * 1000 / (CONNECTIONS[-1] - CONNECTIONS[0])
    page.bar(Bar("memory of an open connection", each, most=KILOBYTES_A_CONNECTION, unit="kB"))


def outage(page: Page) -> None:
    """Outbox, logs and memory while the broker is away, and how fast the outbox empties after it."""
    page.heading("Growth: half an hour without broker")
    rows, memory = [], []
    with _stack(replicas_payment_v2=0, mesh="off", page="off") as (side, stack):
        data, process = stack.state.data, psutil.Process(stack.pids("order-1")["order-1"])
        stack.scale("payment", 0)
        stack.control.stop("nats", wait=True)
        run(closed_loop(side.url, 8, 6.0))
        for minutes in OUTAGE_MINUTES:
            messages = minutes * 60 * OUTAGE_RATE
            stored.copy_messages(data, messages)
            time.sleep(1.0)
            memory.append(process.memory_info().rss / 1e6)
            logs = sum(file.stat().st_size for file in stack.state.logs.rglob("*") if file.is_file()) / 1e6
            size = stored.size(data, "order")
            rows.append([str(minutes), f"{messages:,}", f"{size:.1f}", f"{logs:.1f}", f"{memory[-1]:.0f}"])
        began = time.monotonic()
        stack.control.start("nats")
        drained = _drained(data, 90.0)
        seconds = time.monotonic() - began
    page.table(["minutes", "messages waiting", "order database MB", "all logs MB", "order service MB"], rows)
    limit = stack.settings.log_max_mb
    page.line(f"Logs turn over at {limit} MB a program. The outbox grows with the orders taken, and with nothing else.")
    page.bar(Bar("memory of the order service at the end / at the beginning", memory[-1] / memory[0], most=1.2))
    total = OUTAGE_MINUTES[-1] * 60 * OUTAGE_RATE
    if drained:
        page.line(
            f"The broker back, {total:,} messages were on their way after {seconds:.0f} s ({total / seconds:.0f}/s)."
        )
    else:
        page.line(f"The broker back, the outbox was not empty after {seconds:.0f} s.")
    page.bar(Bar("the outbox empties", float(drained), least=1))


@contextmanager
def _stack(**settings: object) -> Iterator[tuple[Side, LocalStack]]:
    with workplace() as directory, our_side("ours", directory, **settings) as side:
        assert isinstance(side.stack, LocalStack)
        yield side, side.stack


def _place(url: str, key: str) -> dict[str, str]:
    headers = {"content-type": "application/json", "idempotency-key": key}
    with urlopen(Request(f"{url}/orders", BODY, headers), timeout=10) as answer:
        placed: dict[str, str] = json.load(answer)
    return placed


def _latencies(url: str, order_id: str, middle: int) -> list[float]:
    """Median seconds of each request, in the order of the table."""
    far = f"ord_00{middle:024d}"
    paths = [
        f"/orders/{order_id}",
        "/orders?limit=50",
        "/orders?limit=50&state=CONFIRMED",
        f"/orders?limit=50&before={far}",
    ]
    for path in paths:
        urlopen(url + path, timeout=30).close()
    placed = [sample.seconds for sample in run(closed_loop(url, 1, 3.0)) if sample.status == 201]
    return [percentile(placed, 50), *(_median_of_get(url + path) for path in paths)]


def _median_of_get(url: str, times: int = 30) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        urlopen(url, timeout=30).read()
        seconds.append(time.perf_counter() - began)
    return percentile(seconds, 50)


@contextmanager
def _connection(url: str) -> Iterator[None]:
    """A connection that has asked once and stays."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=10) as opened:
        opened.sendall(b"GET /health/live HTTP/1.1\r\nhost: bench\r\n\r\n")
        opened.recv(4096)
        yield


def _drained(data: Path, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not stored.waiting(data):
            return True
        time.sleep(0.25)
    return False


PARTS = ("replicas", "orders", "connections", "outage")


def bench(page: Page, *, most: int = ORDERS[-1], parts: tuple[str, ...] = PARTS) -> None:
    """The curves that are asked for."""
    if "replicas" in parts:
        replicas(page)
    if "orders" in parts:
        orders(page, most)
    if "connections" in parts:
        connections(page)
    if "outage" in parts:
        outage(page)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--most", type=int, default=ORDERS[-1], help="stored orders")
    arguments.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    wanted = arguments.parse_args()
    page = Page()
    bench(page, most=wanted.most, parts=tuple(wanted.parts))
    sys.stdout.write(page.text())
    return 0 if page.all_met() else 1


if __name__ == "__main__":
    sys.exit(main())
