"""A changed configuration: rate limiter, adaptive bulkhead and cache take it and keep what they know."""

from pathlib import Path

import pytest

from shared.resilience import AdaptiveBulkhead, Fault, RateLimitExceeded, Registry
from shared.resilience.config import parse
from shared.resilience.events import LimitChanged, RateLimitRefused
from shared.resilience.testing import FakeClock
from tests.unit.resilience.dependencies import Dependency, DownError

FILE = """
instances:
  stock:
    cache: {stale_if_error: 1m}
    rate_limiter: {limit_for_period: 3, limit_refresh_period: 10s}
    bulkhead: {type: adaptive, max_limit: 60, smoothing: 1, window_calls: 1}
"""


def read(*changes: tuple[str, str]) -> str:
    text = FILE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture
def registry(clock: FakeClock) -> Registry:
    return Registry(parse(FILE, Path("resilience.yaml")), clock=clock)


def reload(registry: Registry, *changes: tuple[str, str]) -> None:
    assert registry.reload(parse(read(*changes), Path("resilience.yaml"))) is not None


async def test_permissions_that_were_given_stay_given(clock: FakeClock, registry: Registry) -> None:
    pipeline = registry.pipeline("stock")
    for _ in range(2):
        await pipeline.call(Dependency(clock, 7))
    reload(registry, ("limit_for_period: 3", "limit_for_period: 2"))
    with pytest.raises(RateLimitExceeded):
        await pipeline.call(Dependency(clock, 7))
    assert isinstance(pipeline.recent_events()[-1], RateLimitRefused)
    clock.tick(10)
    assert pipeline.rate_limiter.snapshot().available == 2


async def test_answers_that_were_kept_stay_kept(clock: FakeClock, registry: Registry) -> None:
    pipeline = registry.pipeline("stock")
    await pipeline.call(Dependency(clock, 7), cache_key="a")
    reload(registry, ("stale_if_error: 1m", "stale_if_error: 2m"))
    clock.tick(90)
    assert await pipeline.call(Dependency(clock, DownError()), cache_key="a") == 7


async def test_the_limit_that_was_found_stays_within_the_new_bounds(clock: FakeClock, registry: Registry) -> None:
    pipeline = registry.pipeline("stock")
    pipeline.bulkhead.gradient.record(clock.monotonic() + 2, 0.1, 20, dropped=False)
    assert pipeline.bulkhead.gradient.limit == 24
    reload(registry, ("max_limit: 60", "max_limit: 22"))
    assert pipeline.bulkhead.snapshot().max_concurrent_calls == 22
    assert pipeline.bulkhead.gradient.usual == pytest.approx(0.1)


async def test_a_fixed_bulkhead_takes_the_place_of_an_adaptive_one(clock: FakeClock, registry: Registry) -> None:
    pipeline = registry.pipeline("stock")
    reload(registry, ("{type: adaptive, max_limit: 60, smoothing: 1, window_calls: 1}", "{max_concurrent_calls: 4}"))
    assert not isinstance(pipeline.bulkhead, AdaptiveBulkhead)
    assert pipeline.bulkhead.snapshot().max_concurrent_calls == 4
    assert await pipeline.call(Dependency(clock, 7)) == 7
    assert not any(isinstance(event, LimitChanged) for event in pipeline.recent_events())


async def test_layers_that_are_no_longer_configured_are_gone_and_faults_go_on(
    clock: FakeClock, registry: Registry
) -> None:
    pipeline = registry.pipeline("stock")
    pipeline.faults.inject(Fault(result="injected"), seconds=60)
    reload(registry, ("    cache: {stale_if_error: 1m}\n", ""))
    assert list(pipeline.layers) == ["deadline", "fallback", "rate_limiter", "bulkhead", "faults"]
    assert await pipeline.call(Dependency(clock, 7), cache_key="a") == "injected"
