"""The other libraries, doing the same job: `bench_resilience` measures them beside ours.

Each `*_breaker` makes a breaker that opens for OPEN_SECONDS, and returns how to call through it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import aiobreaker
import circuitbreaker
import pybreaker
import stamina
import tenacity
from hyx.bulkhead import bulkhead as hyx_bulkhead
from hyx.circuitbreaker import consecutive_breaker
from hyx.retry import retry as hyx_retry
from hyx.timeout import timeout as hyx_timeout
from purgatory import AsyncCircuitBreakerFactory

from shared.resilience import CircuitBreaker, CircuitBreakerConfig
from tests.bench.layers import Variant, dependency

OPEN_SECONDS = 0.05
FAILURES = 5
Call = Callable[..., Awaitable[Any]]
# Makes a breaker; what it returns calls a coroutine function through it.
Make = Callable[[str], Awaitable[Call]]


async def ours(name: str) -> Call:
    """As many failures as the others need, and three trials."""
    config = CircuitBreakerConfig(
        minimum_number_of_calls=FAILURES, wait_duration_in_open_state=OPEN_SECONDS, permitted_calls_in_half_open=3
    )
    return CircuitBreaker(name, config).call


async def aiobreaker_breaker(name: str) -> Call:
    """Through `call_async`."""
    breaker = aiobreaker.CircuitBreaker(fail_max=FAILURES, timeout_duration=timedelta(seconds=OPEN_SECONDS), name=name)
    return breaker.call_async  # type: ignore[no-any-return]


async def purgatory_breaker(name: str) -> Call:
    """As its documentation has it: a breaker from the factory, entered for each call."""
    factory = AsyncCircuitBreakerFactory(default_threshold=FAILURES, default_ttl=OPEN_SECONDS)
    breaker = await factory.get_breaker(name)

    async def call(fn: Call) -> Any:
        async with breaker:
            return await fn()

    return call


async def hyx_breaker(_: str) -> Call:
    """Entered for each call, with three trials."""
    breaker = consecutive_breaker(failure_threshold=FAILURES, recovery_time_secs=OPEN_SECONDS, recovery_threshold=3)

    async def call(fn: Call) -> Any:
        async with breaker:
            return await fn()

    return call


async def pybreaker_breaker(name: str) -> Call:
    """Without tornado, its way for coroutines is the context manager."""
    breaker = pybreaker.CircuitBreaker(fail_max=FAILURES, reset_timeout=OPEN_SECONDS, name=name)

    async def call(fn: Call) -> Any:
        with breaker.calling():
            return await fn()

    return call


async def circuitbreaker_breaker(name: str) -> Call:
    """What its decorator does, for whatever function."""
    breaker = circuitbreaker.CircuitBreaker(failure_threshold=FAILURES, recovery_timeout=OPEN_SECONDS, name=name)

    async def call(fn: Call) -> Any:
        if breaker.opened:
            raise circuitbreaker.CircuitBreakerError(breaker)
        return await breaker.call_async(fn)

    return call


BREAKERS: dict[str, Make] = {
    "ours": ours,
    "aiobreaker": aiobreaker_breaker,
    "purgatory": purgatory_breaker,
    "pybreaker": pybreaker_breaker,
    "hyx": hyx_breaker,
    "circuitbreaker": circuitbreaker_breaker,
}


async def breakers() -> dict[str, Variant]:
    """A successful call through each of the others."""
    made = {name: await make(name) for name, make in BREAKERS.items() if name != "ours"}
    return {name: _through(call) for name, call in made.items()}


def _through(call: Call) -> Variant:
    return lambda: call(dependency)


def retries() -> dict[str, Variant]:
    """Three attempts, by each that retries."""
    tenacious = tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_exponential())
    stamined = stamina.AsyncRetryingCaller(attempts=3).on(Exception)
    hyxed = hyx_retry(on=Exception, attempts=3)(dependency)
    return {
        "tenacity": lambda: tenacious(dependency),
        "stamina": lambda: stamined(dependency),
        "hyx": hyxed,
    }


def timeouts() -> dict[str, Variant]:
    """Half a second, by each that limits time."""

    async def asyncio_timeout() -> int:
        async with asyncio.timeout(0.5):
            return await dependency()

    return {
        "asyncio.timeout": asyncio_timeout,
        "asyncio.wait_for": lambda: asyncio.wait_for(dependency(), 0.5),
        "hyx": hyx_timeout(0.5)(dependency),
    }


async def stacks() -> dict[str, Variant]:
    """Retry around a breaker around a time limit."""
    through = await aiobreaker_breaker("stack")
    tenacious = tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_exponential())
    stamined = stamina.AsyncRetryingCaller(attempts=3).on(Exception)

    async def limited() -> object:
        return await asyncio.wait_for(through(dependency), 0.5)

    guards = (
        hyx_timeout(0.5),
        hyx_bulkhead(max_concurrency=25, max_capacity=125),
        consecutive_breaker(),
        hyx_retry(on=Exception, attempts=3),
    )
    stacked: Any = dependency
    for guard in guards:
        stacked = guard(stacked)
    return {
        "tenacity + aiobreaker + wait_for": lambda: tenacious(limited),
        "stamina + aiobreaker + wait_for": lambda: stamined(limited),
        "hyx: retry, breaker, bulkhead, timeout": stacked,
    }
