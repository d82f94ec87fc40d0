"""What the library costs a successful call, beside others doing the same. Not a test: it prints, and judges its bars.

    make bench-resilience ARGS="--rounds 50 --calls 300 --uvloop"

All variants take turns in one process, in short rounds, so that a slow moment of the machine hits each of them; of each
the median round counts, in CPU time: nothing here waits, and time that other programs take is not ours to report. `over
bare` is what the variant adds to a bare await. Then: bytes of one breaker, and how many of 1,000 calls a half-open
breaker lets through that come at the same time.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import statistics
import sys
import time
import tracemalloc

import uvloop

from tests.bench import layers
from tests.bench.layers import Variant, dependency
from tests.bench.peers import libraries

# The bars were set on a machine where aiobreaker adds so many microseconds to a call.
AIOBREAKER_THERE = 1.5
USUAL = "ours: retry, breaker, bulkhead, timeout, deadline"
STACK = "tenacity + aiobreaker + wait_for"


async def variants() -> dict[str, dict[str, Variant]]:
    """By job, then by who does it."""
    return {
        "bare await": {"bare": dependency},
        "circuit breaker": layers.breakers() | await libraries.breakers(),
        "retry": {"ours": layers.guarded(retry=layers.RetryConfig())} | libraries.retries(),
        "timeout": {"ours": layers.guarded(timeout=0.5)} | libraries.timeouts(),
        "each of our layers in a pipeline": layers.layers(),
        "whole stacks": layers.pipelines() | await libraries.stacks(),
    }


async def measure(rounds: int, calls: int) -> dict[str, dict[str, float]]:
    """Microseconds a call of each variant: the median of its rounds."""
    made = await variants()
    flat = [(job, who, variant) for job, group in made.items() for who, variant in group.items()]
    taken: dict[tuple[str, str], list[float]] = {(job, who): [] for job, who, _ in flat}
    for _, _, variant in flat:
        for _ in range(200):
            await variant()
    for _ in range(rounds):
        for job, who, variant in flat:
            start = time.process_time()
            for _ in range(calls):
                await variant()
            taken[job, who].append((time.process_time() - start) / calls * 1e6)
    return {job: {who: statistics.median(taken[job, who]) for who in group} for job, group in made.items()}


def table(measured: dict[str, dict[str, float]]) -> list[str]:
    bare = measured["bare await"]["bare"]
    unit = measured["circuit breaker"]["aiobreaker"] - bare
    lines = [f"{'':52}{'us a call':>10}{'over bare':>11}{'/ aiobreaker':>14}"]
    for job, group in measured.items():
        lines.append(job)
        for who, cost in group.items():
            lines.append(f"  {who:50}{cost:10.2f}{cost - bare:11.2f}{(cost - bare) / unit:14.2f}")
    return lines


def bars(measured: dict[str, dict[str, float]]) -> list[str]:
    """What the library promises, and whether it held in this run."""
    bare = measured["bare await"]["bare"]
    breakers, stacks = measured["circuit breaker"], measured["whole stacks"]
    unit = breakers["aiobreaker"] - bare
    there = (stacks[USUAL] - bare) / unit * AIOBREAKER_THERE
    return [
        _bar("our breaker's overhead / aiobreaker's", (breakers["ours, count window"] - bare) / unit, 0.7),
        _bar(f"our usual stack's overhead in us, where that is {AIOBREAKER_THERE}", there, 8),
        _bar(f"our usual stack / {STACK}", (stacks[USUAL] - bare) / (stacks[STACK] - bare), 0.2),
    ]


def _bar(what: str, value: float, most: float) -> str:
    return f"  {what:58}{value:6.2f}   at most {most:g}: {'held' if value <= most else 'MISSED'}"


async def bytes_of_a_breaker(make: libraries.Make, count: int = 500) -> float:
    """What one breaker keeps allocated, in bytes, with what its library keeps beside it."""
    # The first one loads and caches what all share.
    kept = [await make("first")]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept += [await make(f"breaker-{number}") for number in range(count)]
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / count


class DownError(Exception):
    """The dependency failed."""


async def fail() -> None:
    raise DownError


async def admitted_at_half_open(make: libraries.Make, calls: int = 1000) -> int:
    """How many of so many calls that come at once reach a dependency whose breaker has just come to half-open."""
    call = await make("half-open")
    for _ in range(libraries.FAILURES + 1):
        with contextlib.suppress(Exception):
            await call(fail)
    reached, end = 0, asyncio.Event()

    async def slow() -> None:
        nonlocal reached
        reached += 1
        await end.wait()

    with contextlib.suppress(Exception):
        await asyncio.wait_for(call(slow), 0.01)
    if reached:
        raise RuntimeError("the breaker is not open, so what follows would prove nothing")
    await asyncio.sleep(libraries.OPEN_SECONDS * 2)
    tasks = [asyncio.ensure_future(call(slow)) for _ in range(calls)]
    for _ in range(5):
        await asyncio.sleep(0)
    end.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    return reached


async def report(rounds: int, calls: int) -> str:
    measured = await measure(rounds, calls)
    lines = [
        *table(measured),
        "",
        "bars",
        *bars(measured),
        "",
        f"{'breakers':52}{'bytes':>10}{'of 1,000 at half-open':>25}",
    ]
    for who, make in libraries.BREAKERS.items():
        size, reached = await bytes_of_a_breaker(make), await admitted_at_half_open(make)
        lines.append(f"  {who:50}{size:10.0f}{reached:25}")
    return "\n".join([*lines, "  (permitted at half-open: ours 3, hyx 3, the others 1)", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--uvloop", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    factory = uvloop.new_event_loop if options.uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        sys.stdout.write(runner.run(report(options.rounds, options.calls)))


if __name__ == "__main__":
    main()
