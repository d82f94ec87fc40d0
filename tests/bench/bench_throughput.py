"""Orders a second and their latency: ours with everything on, beside the tutorial's stack and beside the bare path.

    python -m tests.bench.bench_throughput [--database sqlite|postgres] [--rounds 6] [--seconds 4] [--customers 16]

All stacks are up at once and loaded in turn by a closed loop, in short slices whose order turns round; what a slice
gave is divided by what the other's slice of the same round gave, so what else the machine does falls on both. See
`tests.bench.peers.tutorial` for the peer and `tests.bench.bare` for the bare path.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from infra.local.stack import LocalStack
from tests.bench.figures import Slice, Spread, ratios
from tests.bench.load import Sample, closed_loop, run
from tests.bench.sides import AS_MANY_PROCESSES, BARE, EVERYTHING, Side, our_side, tutorial_side, workplace
from tests.bench.tables import Bar, Page

OURS, MESHED, BARE_PATH, TUTORIAL = "ours", "ours, as make up", "bare path", "tutorial"
OVER_TUTORIAL, OF_BARE = 4.0, 0.7


def measure(sides: Sequence[Side], rounds: int, seconds: float, customers: int) -> dict[str, list[Slice]]:
    """The slices of each side, after one round that does not count."""
    slices: dict[str, list[Slice]] = {side.name: [] for side in sides}
    for number in range(rounds + 1):
        turn = number % len(sides)
        for side in [*sides[turn:], *sides[:turn]]:
            before = sum(side.cpu().values())
            samples = run(_load(side.url, customers, seconds if number else 2.0))
            found = Slice.of(samples, seconds, sum(side.cpu().values()) - before)
            if number:
                slices[side.name].append(found)
    return slices


async def _load(url: str, customers: int, seconds: float) -> list[Sample]:
    samples = await closed_loop(url, customers, seconds)
    await asyncio.sleep(0.2)
    return samples


def report(page: Page, database: str, slices: Mapping[str, Sequence[Slice]]) -> None:
    """A table, and the bars."""
    page.heading(f"POST /orders, {database}")
    rows = []
    for name, found in slices.items():
        pace, p50, p99, cpu = (Spread.of([getattr(s, name) for s in found]) for name in ("pace", "p50", "p99", "cpu"))
        failed = sum(s.failed for s in found)
        shown = [
            pace.shown(0),
            f"{p50.median * 1000:.0f}",
            f"{p99.median * 1000:.0f}",
            f"{cpu.median * 1000:.1f}",
            str(failed),
        ]
        rows.append([name, *shown])
    page.table(["", "orders/s", "p50 ms", "p99 ms", "CPU ms an order", "not taken"], rows)
    ours = [found.pace for found in slices[OURS]]
    for name, least in ((TUTORIAL, OVER_TUTORIAL), (BARE_PATH, OF_BARE)):
        ratio = ratios(ours, [found.pace for found in slices[name]])
        page.bar(Bar(f"orders/s on {database}, ours / {name}", ratio.median, least=least, spread=ratio))
    meshed = ratios([found.pace for found in slices[MESHED]], [found.pace for found in slices[TUTORIAL]])
    page.line(f"As `make up` has it, with Envoy on every hop and both payment versions, / tutorial: {meshed.shown()}.")
    spent = {
        name: ratios([s.cpu for s in slices[name]], [s.cpu for s in slices[OURS]]) for name in (TUTORIAL, BARE_PATH)
    }
    page.line("CPU time an order, of ours: " + ", ".join(f"{name} {ratio.shown()}" for name, ratio in spent.items()))
    tails = ratios([s.p99 for s in slices[TUTORIAL]], [s.p99 for s in slices[OURS]])
    page.line(f"p99, tutorial / ours: {tails.shown()}.")


def bench(page: Page, database: str, *, rounds: int = 6, seconds: float = 4.0, customers: int = 16) -> None:
    """Start all sides, measure them, write the section."""
    with workplace() as directory, ExitStack() as running:
        chosen = {"database": database}
        ours = running.enter_context(our_side(OURS, directory, **EVERYTHING | AS_MANY_PROCESSES | chosen))
        meshed = running.enter_context(our_side(MESHED, directory, **EVERYTHING | chosen))
        bare = running.enter_context(our_side(BARE_PATH, directory, **BARE | chosen))
        server = bare.stack if database == "postgres" else None
        assert server is None or isinstance(server, LocalStack)
        tutorial = running.enter_context(tutorial_side(directory, server))
        slices = measure([ours, tutorial, bare, meshed], rounds, seconds, customers)
    report(page, database, slices)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    arguments.add_argument("--rounds", type=int, default=6)
    arguments.add_argument("--seconds", type=float, default=4.0)
    arguments.add_argument("--customers", type=int, default=16)
    wanted = arguments.parse_args()
    page = Page()
    bench(page, wanted.database, rounds=wanted.rounds, seconds=wanted.seconds, customers=wanted.customers)
    sys.stdout.write(page.text())
    return 0 if page.all_met() else 1


if __name__ == "__main__":
    sys.exit(main())
