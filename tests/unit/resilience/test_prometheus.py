"""The metrics: Resilience4j's names and labels, and the numbers of the moment."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from shared.resilience import Fault, Registry, State
from shared.resilience.prometheus import ResilienceCollector
from shared.resilience.testing import FakeClock, seeded_random
from tests.unit.resilience.dependencies import Dependency, DownError, Slow, kinds
from tests.unit.resilience.test_registry import CONFIG

NAME = "payment.process"


class Scrape:
    """What Prometheus would read now."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.types: dict[str, str] = {}
        self._samples: dict[tuple[str, frozenset], float] = {}
        for family in text_string_to_metric_families(generate_latest(registry).decode()):
            for sample in family.samples:
                self.types[sample.name] = family.type
                self._samples[sample.name, frozenset(sample.labels.items())] = sample.value

    def __getitem__(self, query: tuple) -> float:
        name, labels = query
        return self._samples[name, frozenset(labels.items())]


@pytest.fixture
def registry(tmp_path: Path, clock: FakeClock) -> Registry:
    path = tmp_path / "resilience.yaml"
    path.write_text(CONFIG)
    return Registry.from_file(path, clock=clock, random=seeded_random())


@pytest.fixture
def collected(registry: Registry) -> CollectorRegistry:
    collected = CollectorRegistry()
    collected.register(ResilienceCollector(registry))
    return collected


def test_names_types_and_labels_are_resilience4js(collected: CollectorRegistry) -> None:
    scrape = Scrape(collected)
    expected = {
        "resilience4j_circuitbreaker_state": "gauge",
        "resilience4j_circuitbreaker_buffered_calls": "gauge",
        "resilience4j_circuitbreaker_slow_calls": "gauge",
        "resilience4j_circuitbreaker_failure_rate": "gauge",
        "resilience4j_circuitbreaker_slow_call_rate": "gauge",
        "resilience4j_circuitbreaker_calls_seconds_count": "summary",
        "resilience4j_circuitbreaker_calls_seconds_sum": "summary",
        "resilience4j_circuitbreaker_not_permitted_calls_total": "counter",
        "resilience4j_retry_calls_total": "counter",
        "resilience4j_bulkhead_available_concurrent_calls": "gauge",
        "resilience4j_bulkhead_max_allowed_concurrent_calls": "gauge",
        "resilience4j_timelimiter_calls_total": "counter",
    }
    assert {name: scrape.types.get(name) for name in expected} == expected
    for kind in ("successful_without_retry", "successful_with_retry", "failed_without_retry", "failed_with_retry"):
        assert scrape["resilience4j_retry_calls_total", {"name": NAME, "kind": kind}] == 0
    for kind in ("successful", "failed", "timeout"):
        assert scrape["resilience4j_timelimiter_calls_total", {"name": "payment.refund", "kind": kind}] == 0


def test_exactly_one_state_of_a_breaker_is_one(registry: Registry, collected: CollectorRegistry) -> None:
    for state in State:
        if state is State.HALF_OPEN:
            registry.breakers["payment"].transition_to_open()
        getattr(registry.breakers["payment"], f"transition_to_{state}")()
        scrape = Scrape(collected)
        values = {
            s.value: scrape["resilience4j_circuitbreaker_state", {"name": "payment", "state": s.value}] for s in State
        }
        assert values == {s.value: float(s is state) for s in State}


async def test_the_breakers_numbers_are_those_of_its_calls(
    registry: Registry, collected: CollectorRegistry, clock: FakeClock
) -> None:
    pipeline = registry.pipeline(NAME)
    await clock.run(pipeline.call(Dependency(clock, Slow(3, 1))))
    assert Scrape(collected)["resilience4j_circuitbreaker_failure_rate", {"name": "payment"}] == -1
    with pytest.raises(DownError):
        await clock.run(pipeline.call(Dependency(clock, Slow(2, DownError()))))
    assert pipeline.circuit_breaker.try_acquire() is None
    scrape = Scrape(collected)
    breaker = {"name": "payment"}
    prefix = "resilience4j_circuitbreaker"
    assert scrape[f"{prefix}_failure_rate", breaker] == 50
    assert scrape[f"{prefix}_slow_call_rate", breaker] == 0
    assert scrape[f"{prefix}_buffered_calls", breaker | {"kind": "failed"}] == 1
    assert scrape[f"{prefix}_buffered_calls", breaker | {"kind": "successful"}] == 1
    assert scrape[f"{prefix}_slow_calls", breaker | {"kind": "failed"}] == 0
    assert scrape[f"{prefix}_calls_seconds_count", breaker | {"kind": "failed"}] == 1
    assert scrape[f"{prefix}_calls_seconds_sum", breaker | {"kind": "failed"}] == pytest.approx(2)
    assert scrape[f"{prefix}_calls_seconds_sum", breaker | {"kind": "successful"}] == pytest.approx(3)
    assert scrape[f"{prefix}_calls_seconds_count", breaker | {"kind": "ignored"}] == 0
    assert scrape[f"{prefix}_not_permitted_calls_total", breaker | {"kind": "not_permitted"}] == 1


async def test_retries_hedges_fallbacks_and_budgets_are_counted(
    registry: Registry, collected: CollectorRegistry, clock: FakeClock
) -> None:
    async def instead(_: BaseException) -> int:
        return 0

    await registry.pipeline("payment.refund").call(Dependency(clock, DownError()), fallback=instead)
    registry.breakers["payment"].transition_to_metrics_only()
    await clock.run(registry.pipeline(NAME).call(Dependency(clock, DownError(), 1), idempotent=True))
    await clock.run(registry.pipeline("stock.read").call(Dependency(clock, Slow(0.5), Slow(0.1))))
    scrape = Scrape(collected)
    assert scrape["resilience4j_retry_calls_total", {"name": NAME, "kind": "successful_with_retry"}] == 1
    assert scrape["resilience_retry_attempts_total", {"name": NAME}] == 1
    assert scrape["resilience_hedge_calls_total", {"name": "stock.read", "kind": "started"}] == 1
    assert scrape["resilience_hedge_calls_total", {"name": "stock.read", "kind": "won"}] == 1
    assert scrape["resilience_fallback_calls_total", {"name": "payment.refund", "kind": "successful"}] == 1
    assert scrape["resilience4j_timelimiter_calls_total", {"name": "payment.refund", "kind": "failed"}] == 1
    assert scrape["resilience_retry_budget_granted_total", {"name": "payment"}] == 1
    assert scrape["resilience_retry_budget_tokens", {"name": "payment"}] == pytest.approx(99.1)
    assert scrape["resilience_retry_budget_active_retries", {"name": "payment"}] == 0
    assert scrape["resilience4j_bulkhead_available_concurrent_calls", {"name": "stock.read"}] == 25


def test_a_switched_off_layer_shows(registry: Registry, collected: CollectorRegistry) -> None:
    registry.pipeline(NAME).switch("retry", False)
    scrape = Scrape(collected)
    assert scrape["resilience_layer_enabled", {"name": NAME, "layer": "retry"}] == 0
    assert scrape["resilience_layer_enabled", {"name": NAME, "layer": "circuit_breaker"}] == 1


LIMITED = """
instances:
  stock.read:
    cache: {max_age: 1s, stale_if_error: 1m}
    rate_limiter: {limit_for_period: 2, limit_refresh_period: 10s, timeout_duration: 10s, max_waiting: 1}
    bulkhead: {type: adaptive, initial_limit: 7, max_limit: 9, smoothing: 1, window_calls: 1}
"""


async def test_rate_limiter_adaptive_bulkhead_cache_and_faults_show(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "resilience.yaml"
    path.write_text(LIMITED)
    registry = Registry.from_file(path, clock=clock)
    collected = CollectorRegistry()
    collected.register(ResilienceCollector(registry))
    pipeline, name = registry.pipeline("stock.read"), {"name": "stock.read"}
    assert Scrape(collected)["resilience4j_bulkhead_max_allowed_concurrent_calls", name] == 7
    pipeline.faults.inject(Fault(latency=1.5), seconds=600)
    calls = [asyncio.create_task(pipeline.call(Dependency(clock, n), cache_key="a")) for n in range(4)]
    await clock.settle()
    scrape = Scrape(collected)
    assert scrape.types["resilience4j_ratelimiter_available_permissions"] == "gauge"
    assert scrape.types["resilience4j_ratelimiter_waiting_threads"] == "gauge"
    assert scrape["resilience4j_ratelimiter_available_permissions", name] == 0
    assert scrape["resilience4j_ratelimiter_waiting_threads", name] == 1
    assert scrape["resilience_ratelimiter_refused_calls_total", name] == 1
    assert scrape["resilience_faults_active", name] == 1
    assert scrape["resilience_cache_calls_total", name | {"kind": "missed"}] == 1
    await clock.advance(15)
    assert kinds(await asyncio.gather(*calls, return_exceptions=True)) == ["int", "int", "int", "RateLimitExceeded"]
    scrape = Scrape(collected)
    assert scrape["resilience4j_ratelimiter_available_permissions", name] == 1
    assert scrape["resilience_cache_entries", name] == 1
    # Two calls at a time are less than half of the limit, so it has stayed; four are not.
    assert scrape["resilience4j_bulkhead_max_allowed_concurrent_calls", name] == 7
    pipeline.switch("rate_limiter", False)
    await clock.run(asyncio.wait([asyncio.ensure_future(pipeline.call(Dependency(clock, n))) for n in range(4)]))
    scrape = Scrape(collected)
    assert scrape["resilience4j_bulkhead_max_allowed_concurrent_calls", name] == 9
    assert scrape["resilience4j_bulkhead_available_concurrent_calls", name] == 9
