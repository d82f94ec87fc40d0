"""What telemetry costs the running platform: orders a second with all of it on, beside the same platform without.

    python -m tests.bench.bench_telemetry [--pairs 10] [--seconds 6] [--concurrency 8]

Run it by `make bench-telemetry`. Two stacks run side by side on free ports and are loaded in turn, never at once; each
round of one is compared with the round of the other next to it, so what neighbours on the machine do falls on both.

On: as `make up` has it. Every request is logged, every span recorded, exported, sampled by tail and stored, and
Prometheus scrapes every 5 s, evaluates its rules and keeps exemplars. Off: no spans, no control room, no Prometheus and
no Alertmanager, of the logs only errors. What cannot be switched off is in both: counters and histograms are counted in
memory, and every answer has its trace id.

Orders count from the third second of a round on, when the receiver decides and stores besides. Processor time hardly
depends on neighbours: it is that of all processes of a stack over all rounds and the pauses between them, less what
they take at rest (scrapes, polls), which is told apart.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from tests.bench.bench_order_path import ORDER, say

BAR = 0.75
WARM_SECONDS = 2.5
"""A little longer than the receiver waits before it decides about a trace."""
REST_SECONDS = 8.0
SIDES = {"on": {"traces": "on", "prometheus": "on"}, "off": {"log_level": "error"}}


@dataclass(slots=True)
class Side:
    """One stack and what its rounds gave. `paces` in orders a second; `rest` in CPU seconds a second, by process."""

    stack: LocalStack
    paces: list[float] = field(default_factory=list)
    orders: int = 0
    rest: dict[str, float] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    begun_at: float = 0.0

    def begin(self) -> None:
        """Count from here."""
        self.begun, self.begun_at, self.orders = self.cpu(), time.perf_counter(), 0
        self.paces.clear()

    def rate(self) -> dict[str, float]:
        """CPU seconds a second of each process since then."""
        elapsed = time.perf_counter() - self.begun_at
        return {name: (seconds - self.begun[name]) / elapsed for name, seconds in self.cpu().items()}

    def spent(self) -> dict[str, float]:
        """CPU milliseconds an order since then, beyond what is taken at rest."""
        each = (time.perf_counter() - self.begun_at) / self.orders * 1000
        return {name: each * (rate - self.rest[name]) for name, rate in self.rate().items()}

    def cpu(self) -> dict[str, float]:
        """CPU seconds of each process since it started."""
        seconds = {}
        for program in self.stack.status():
            for name, pid in self.stack.pids(program.name).items():
                times = psutil.Process(pid).cpu_times()
                seconds[name] = times.user + times.system
        return seconds


async def load(url: str, seconds: float, concurrency: int) -> tuple[int, float]:
    """Place orders for so long; how many there were, and how many a second once it was warm."""
    ended: list[float] = []
    began = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def customer() -> None:
            while time.perf_counter() - began < seconds:
                headers = {"Idempotency-Key": uuid.uuid4().hex}
                async with session.post(f"{url}/orders", json=ORDER, headers=headers) as answer:
                    if answer.status != 201:
                        raise SystemExit(f"an order was answered {answer.status}: {await answer.text()}")
                    await answer.read()
                ended.append(time.perf_counter() - began)

        await asyncio.gather(*(customer() for _ in range(concurrency)))
    counted = sum(WARM_SECONDS <= moment < seconds for moment in ended)
    return len(ended), counted / (seconds - WARM_SECONDS)


def run_round(side: Side, wanted: argparse.Namespace) -> None:
    orders, pace = asyncio.run(load(side.stack.url("order"), wanted.seconds, wanted.concurrency))
    side.orders += orders
    side.paces.append(pace)


def compare(sides: dict[str, Side], wanted: argparse.Namespace) -> None:
    """Alternate: on off, off on, on off, ... so that a slow change of the machine favours neither."""
    for side in sides.values():
        run_round(side, wanted)  # caches and connections
    time.sleep(WARM_SECONDS)  # the last traces are decided
    for side in sides.values():
        side.begin()
    time.sleep(REST_SECONDS)
    for side in sides.values():
        side.rest = side.rate()
        side.begin()
    turns = itertools.cycle([("on", "off"), ("off", "on")])
    for number, (first, second) in enumerate(itertools.islice(turns, wanted.pairs)):
        run_round(sides[first], wanted)
        run_round(sides[second], wanted)
        on, off = sides["on"].paces[-1], sides["off"].paces[-1]
        say(f"pair {number + 1:2}: on {on:5.1f}/s, off {off:5.1f}/s, ratio {on / off:.2f}")


def report(sides: dict[str, Side]) -> bool:
    """Print the figures; whether the bar is met."""
    spent = {name: side.spent() for name, side in sides.items()}
    say(f"\n{'CPU':18} {'ms an order':>15} {'at rest':>15}")
    say(f"{'':18} {'on':>7} {'off':>7} {'on':>7} {'off':>7}")
    for name in dict.fromkeys([*spent["on"], *spent["off"]]):
        orders = [f"{spent[side][name]:7.2f}" if name in spent[side] else " " * 7 for side in SIDES]
        rests = [f"{sides[side].rest[name]:7.1%}" if name in spent[side] else " " * 7 for side in SIDES]
        say(f"{name:18} {' '.join(orders)} {' '.join(rests)}")
    on, off = (sum(spent[name].values()) for name in SIDES)
    rests = [f"{sum(sides[name].rest.values()):7.1%}" for name in SIDES]
    say(f"{'all':18} {on:7.2f} {off:7.2f} {' '.join(rests)}   an order, off / on: {off / on:.2f}")
    ratios = sorted(on / off for on, off in zip(sides["on"].paces, sides["off"].paces, strict=True))
    median = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4)
    met = median >= BAR
    say(
        f"\nthroughput on / off: median {median:.2f}, half of them {low:.2f} to {high:.2f},"
        f" all {ratios[0]:.2f} to {ratios[-1]:.2f}; bar {BAR}: {'met' if met else 'MISSED'}"
    )
    say(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    return met


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pairs", type=int, default=10, help="rounds of each stack, two at least")
    arguments.add_argument("--seconds", type=float, default=6.0, help="of a round, three at least")
    arguments.add_argument("--concurrency", type=int, default=8)
    wanted = arguments.parse_args()
    if wanted.pairs < 2 or wanted.seconds < WARM_SECONDS + 0.5:
        arguments.error("two pairs at least, and rounds of three seconds")
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        sides = {
            name: Side(running.enter_context(running_stack(Path(directory) / name, **settings)))
            for name, settings in SIDES.items()
        }
        compare(sides, wanted)
        return 0 if report(sides) else 1


if __name__ == "__main__":
    sys.exit(main())
