"""Where the time of an order goes, on our side: CPU milliseconds an order by process and by part.

    python -m tests.bench.bench_profile [--database sqlite|postgres] [--seconds 8] [--lines 0]

The services run with a sampler in them (`tests.bench.profiled`), which itself takes a few percent; the parts of the
main thread are its CPU time, shared out as the samples lie, and the other threads are counted by the kernel.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from tests.bench.load import closed_loop, run
from tests.bench.profiled import WAITING
from tests.bench.sides import AS_MANY_PROCESSES, EVERYTHING, Side, our_side, workplace
from tests.bench.tables import Page

PARTS = ("parse and route", "database", "client", "resilience", "telemetry", "messages", "own code")
PROFILED = ("order-1", "payment-1", "inventory-1")


def bench(page: Page, database: str, *, seconds: float = 8.0, customers: int = 16, lines: int = 0) -> None:
    """Load a stack under samplers, and write the section."""
    with workplace() as directory:
        command = f"env PROFILE_DIR={directory} {{python}} -m tests.bench.profiled {{module}}"
        settings = EVERYTHING | AS_MANY_PROCESSES | {"database": database, "page": "off"}
        with our_side("profiled", directory, service_command=command, **settings) as side:
            run(closed_loop(side.url, customers, 3.0))
            orders, cpu, found = _profile(side, directory, customers, seconds)
    _report(page, database, orders, cpu, found, lines)


def _profile(
    side: Side, directory: Path, customers: int, seconds: float
) -> tuple[int, dict[str, float], dict[str, dict[str, dict[str, float]]]]:
    pids = side.pids()
    for name in PROFILED:
        os.kill(pids[name], signal.SIGUSR1)
    before = side.cpu()
    samples = run(closed_loop(side.url, customers, seconds))
    after = side.cpu()
    for name in PROFILED:
        os.kill(pids[name], signal.SIGUSR2)
    found = {name: _written(directory / f"{name}.json") for name in PROFILED}
    taken = sum(sample.status in (201, 202) for sample in samples)
    return taken, {name: after[name] - before[name] for name in after}, found


def _written(path: Path) -> dict[str, dict[str, float]]:
    until = time.monotonic() + 10
    while not path.exists():
        if time.monotonic() > until:
            raise SystemExit(f"{path.name} was not written")
        time.sleep(0.05)
    written: dict[str, dict[str, float]] = json.loads(path.read_text())
    return written


def shared_out(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """CPU seconds by part: the main thread's as its samples lie, and what other threads took."""
    samples = {part: count for part, count in found["samples"].items() if part != WAITING}
    total = sum(samples.values()) or 1.0
    parts: Counter[str] = Counter()
    for part, count in samples.items():
        parts[part] += found["threads"]["main"] * count / total
    for part, spent in found["threads"].items():
        if part != "main":
            parts[part] += spent
    return dict(parts)


def _report(page: Page, database: str, orders: int, cpu: dict[str, float], found: dict[str, dict], lines: int) -> None:
    page.heading(f"Where the time of an order goes, {database}")
    page.line(f"CPU milliseconds an order, {orders} orders.")
    each = 1000 / max(orders, 1)
    parts = {name: shared_out(found[name]) for name in PROFILED}
    rows = []
    for part in PARTS:
        figures = [parts[name].get(part, 0.0) * each for name in PROFILED]
        rows.append([part, *(f"{figure:.2f}" for figure in figures), f"{sum(figures):.2f}"])
    totals = [cpu[name] * each for name in PROFILED]
    rows.append(["all of the process", *(f"{figure:.2f}" for figure in totals), f"{sum(totals):.2f}"])
    page.table(["", *(name.removesuffix("-1") for name in PROFILED), "together"], rows)
    others = {name: seconds * each for name, seconds in cpu.items() if name not in PROFILED}
    page.line("Besides: " + ", ".join(f"{name} {figure:.2f}" for name, figure in others.items() if figure >= 0.005))
    if lines:
        for name in PROFILED:
            total = sum(found[name]["samples"].values()) - found[name]["samples"].get(WAITING, 0)
            shown = [f"{count / total:6.1%}  {where}" for where, count in list(found[name]["lines"].items())[:lines]]
            page.line(f"{name}\n" + "\n".join(shown))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    arguments.add_argument("--seconds", type=float, default=8.0)
    arguments.add_argument("--lines", type=int, default=0, help="the places where most samples lie, so many")
    wanted = arguments.parse_args()
    page = Page()
    bench(page, wanted.database, seconds=wanted.seconds, lines=wanted.lines)
    sys.stdout.write(page.text())


if __name__ == "__main__":
    main()
