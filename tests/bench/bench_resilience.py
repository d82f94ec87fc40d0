"""What the library costs a successful call, beside others. Not a test: a machine's figures prove nothing on another.

    python -m tests.bench.bench_resilience [--rounds 15] [--calls 4000] [--uvloop]

The variants take turns, so that a slow moment of the machine hits all of them; of each the median round counts. `over
bare` is what the variant adds to a bare await; `ratio` compares it with what our breaker alone adds.
"""

import argparse
import asyncio
import logging
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import aiobreaker
import tenacity
import uvloop

from shared.resilience import (
    BulkheadConfig,
    CircuitBreaker,
    CircuitBreakerConfig,
    HedgeConfig,
    Pipeline,
    RetryConfig,
)

Variant = Callable[[], Awaitable[object]]


async def dependency() -> int:
    """Answers at once: only the guards cost anything."""
    return 7


def pipeline(*, everything: bool = False, **layers: object) -> Pipeline:
    """A pipeline with the given layers, or with all of them."""
    if everything:
        layers = {
            "deadline": 2.0,
            "retry": RetryConfig(),
            "hedge": HedgeConfig(delay=0.05),
            "circuit_breaker": CircuitBreakerConfig(),
            "bulkhead": BulkheadConfig(),
            "timeout": 0.5,
        }
    return Pipeline("bench", idempotent=True, **layers)  # type: ignore[arg-type]


def guarded(made: Pipeline) -> Variant:
    return lambda: made.call(dependency)


def only(layer: str, **layers: object) -> Variant:
    """One layer; what every pipeline has is switched off, unless it is the one."""
    made = pipeline(**layers)
    for name in ("deadline", "fallback"):
        if name != layer:
            made.switch(name, False)
    return guarded(made)


def variants() -> dict[str, Variant]:
    breaker = CircuitBreaker("bench", CircuitBreakerConfig())
    time_breaker = CircuitBreaker("bench", CircuitBreakerConfig(sliding_window_type="time"))
    other = aiobreaker.CircuitBreaker(fail_max=5, timeout_duration=timedelta(seconds=60))
    retrying = tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_exponential())

    async def asyncio_timeout() -> int:
        async with asyncio.timeout(0.5):
            return await dependency()

    async def limited() -> object:
        return await asyncio.wait_for(other.call_async(dependency), 0.5)

    async def the_usual_stack() -> object:
        return await retrying(limited)

    return {
        "bare await": dependency,
        "breaker, count window": lambda: breaker.call(dependency),
        "breaker, time window": lambda: time_breaker.call(dependency),
        "empty pipeline": only("none"),
        "pipeline: deadline": only("deadline", deadline=2.0, timeout=0.5),
        "pipeline: fallback": only("fallback"),
        "pipeline: retry and budget": only("retry", retry=RetryConfig()),
        "pipeline: hedge": only("hedge", hedge=HedgeConfig(delay=0.05)),
        "pipeline: circuit breaker": only("circuit_breaker", circuit_breaker=CircuitBreakerConfig()),
        "pipeline: bulkhead": only("bulkhead", bulkhead=BulkheadConfig()),
        "pipeline: timeout": only("timeout", timeout=0.5),
        "pipeline: all but hedge": guarded(everything_but_hedge()),
        "pipeline: everything": guarded(pipeline(everything=True)),
        "asyncio.timeout": asyncio_timeout,
        "asyncio.wait_for": lambda: asyncio.wait_for(dependency(), 0.5),
        "aiobreaker": lambda: other.call_async(dependency),
        "tenacity": lambda: retrying(dependency),
        "tenacity + aiobreaker + wait_for": the_usual_stack,
    }


def everything_but_hedge() -> Pipeline:
    made = pipeline(everything=True)
    made.switch("hedge", False)
    return made


async def measure(rounds: int, calls: int) -> dict[str, float]:
    """Microseconds a call of each variant: the median of its rounds."""
    taken: dict[str, list[float]] = {}
    made = variants()
    for variant in made.values():
        for _ in range(200):
            await variant()
    for _ in range(rounds):
        for name, variant in made.items():
            start = time.perf_counter()
            for _ in range(calls):
                await variant()
            taken.setdefault(name, []).append((time.perf_counter() - start) / calls * 1e6)
    return {name: statistics.median(rounds) for name, rounds in taken.items()}


def table(measured: dict[str, float]) -> str:
    bare = measured["bare await"]
    unit = measured["breaker, count window"] - bare
    lines = [f"{'':36}{'us a call':>10}{'over bare':>11}{'ratio':>8}"]
    lines += [f"{name:36}{cost:10.2f}{cost - bare:11.2f}{(cost - bare) / unit:8.1f}" for name, cost in measured.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--uvloop", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    factory = uvloop.new_event_loop if options.uvloop else None
    with asyncio.Runner(loop_factory=factory) as runner:
        sys.stdout.write(table(runner.run(measure(options.rounds, options.calls))))


if __name__ == "__main__":
    main()
