"""The registry's numbers for Prometheus, read when scraped: a call pays nothing for them.

    from prometheus_client import REGISTRY
    REGISTRY.register(ResilienceCollector(registry))

`resilience4j_*` are Resilience4j's names and labels, so that its dashboards work; `resilience_*` is what it does not
have.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from shared.resilience.budget import BudgetSnapshot
from shared.resilience.bulkhead import BulkheadSnapshot
from shared.resilience.circuit_breaker import CircuitBreakerSnapshot, State
from shared.resilience.rate_limiter import RateLimiterSnapshot
from shared.resilience.registry import Registry

Kind: TypeAlias = Literal["gauge", "counter"]
# Label values, and the sample.
Samples: TypeAlias = list[tuple[tuple[str, ...], float]]


class ResilienceCollector(Collector):
    """Everything in `registry`, as it is at the moment of the scrape."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """One family per metric, with a sample per breaker, pipeline or budget."""
        yield from _breakers([breaker.snapshot() for breaker in self._registry.breakers.values()])
        yield from self._retries()
        yield from self._timeouts()
        yield from self._hedges()
        yield from self._fallbacks()
        yield from self._caches()
        yield from self._faults()
        yield from self._layers()
        limiters = [p.rate_limiter.snapshot() for p in self._registry.pipelines.values() if p.rate_limiter is not None]
        yield from _rate_limiters(limiters)
        bulkheads = [p.bulkhead.snapshot() for p in self._registry.pipelines.values() if p.bulkhead is not None]
        yield from _bulkheads(bulkheads)
        yield from self._reloads()
        yield from _budgets([budget.snapshot() for budget in self._registry.budgets.values()])

    def _retries(self) -> Iterator[Metric]:
        calls: Samples = []
        attempts: Samples = []
        for pipeline in self._registry.pipelines.values():
            if pipeline.retry is None:
                continue
            now = pipeline.retry.snapshot()
            calls += [
                ((now.name, "successful_without_retry"), now.successful_without_retry),
                ((now.name, "successful_with_retry"), now.successful_with_retry),
                ((now.name, "failed_without_retry"), now.failed_without_retry),
                ((now.name, "failed_with_retry"), now.failed_with_retry),
            ]
            attempts.append(((now.name,), now.attempts))
        yield _counter("resilience4j_retry_calls", "Calls, by outcome and by whether they were retried", calls, "kind")
        yield _counter("resilience_retry_attempts", "Attempts after the first", attempts)

    def _timeouts(self) -> Iterator[Metric]:
        samples: Samples = []
        for pipeline in self._registry.pipelines.values():
            if pipeline.timeout.duration is not None:
                now = pipeline.timeout.snapshot()
                samples += [
                    ((now.name, "successful"), now.successful),
                    ((now.name, "failed"), now.failed),
                    ((now.name, "timeout"), now.timeout),
                ]
        yield _counter("resilience4j_timelimiter_calls", "Attempts under a timeout, by outcome", samples, "kind")

    def _hedges(self) -> Iterator[Metric]:
        samples: Samples = []
        for pipeline in self._registry.pipelines.values():
            if pipeline.hedge is not None:
                now = pipeline.hedge.snapshot()
                samples += [
                    ((now.name, "started"), now.started),
                    ((now.name, "won"), now.won),
                    ((now.name, "failed"), now.failed),
                    ((now.name, "refused"), now.refused),
                ]
        yield _counter("resilience_hedge_calls", "Hedges: begun, answered first, failed, refused", samples, "kind")

    def _fallbacks(self) -> Iterator[Metric]:
        samples: Samples = []
        for pipeline in self._registry.pipelines.values():
            now = pipeline.fallback.snapshot()
            samples += [((now.name, "successful"), now.successful), ((now.name, "failed"), now.failed)]
        yield _counter("resilience_fallback_calls", "Fallbacks that answered, and that raised", samples, "kind")

    def _reloads(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "resilience_config_reloads", "Changed configuration files, by what came of them", labels=("outcome",)
        )
        for outcome, count in self._registry.reloads.items():
            family.add_metric((outcome,), count)
        yield family

    def _caches(self) -> Iterator[Metric]:
        caches = [p.cache.snapshot() for p in self._registry.pipelines.values() if p.cache is not None]
        samples: Samples = []
        for now in caches:
            samples += [
                ((now.name, "fresh"), now.fresh),
                ((now.name, "stale"), now.stale),
                ((now.name, "missed"), now.missed),
                ((now.name, "shared"), now.shared),
            ]
        text = "Answers without a call, in the place of a failed one, none for a failed one, and of another call"
        yield _counter("resilience_cache_calls", text, samples, "kind")
        yield _gauge("resilience_cache_entries", "Answers that are kept", [((c.name,), c.entries) for c in caches])

    def _faults(self) -> Iterator[Metric]:
        samples: Samples = [((name,), len(p.faults.snapshot())) for name, p in self._registry.pipelines.items()]
        yield _gauge("resilience_faults_active", "Faults that act on the pipeline's attempts now", samples)

    def _layers(self) -> Iterator[Metric]:
        samples: Samples = [
            ((name, layer), float(enabled))
            for name, pipeline in self._registry.pipelines.items()
            for layer, enabled in pipeline.layers.items()
        ]
        yield _gauge("resilience_layer_enabled", "1 while the pipeline's layer is on", samples, "layer")


def _breakers(breakers: list[CircuitBreakerSnapshot]) -> Iterator[Metric]:
    prefix = "resilience4j_circuitbreaker"
    states: Samples = [((b.name, state.value), float(b.state is state)) for b in breakers for state in State]
    yield _gauge(f"{prefix}_state", "1 for the state that the breaker is in", states, "state")
    buffered: Samples = []
    slow: Samples = []
    for b in breakers:
        buffered += [((b.name, "failed"), b.failed_calls), ((b.name, "successful"), b.successful_calls)]
        slow += [((b.name, "failed"), b.slow_failed_calls), ((b.name, "successful"), b.slow_successful_calls)]
    yield _gauge(f"{prefix}_buffered_calls", "Calls in the window", buffered, "kind")
    yield _gauge(f"{prefix}_slow_calls", "Slow calls in the window", slow, "kind")
    rates: Samples = [((b.name,), b.failure_rate) for b in breakers]
    yield _gauge(f"{prefix}_failure_rate", "Failed calls in per cent of the window, -1 below the minimum", rates)
    rates = [((b.name,), b.slow_call_rate) for b in breakers]
    yield _gauge(f"{prefix}_slow_call_rate", "Slow calls in per cent of the window, -1 below the minimum", rates)
    seconds = SummaryMetricFamily(f"{prefix}_calls_seconds", "Calls and what they took", labels=("name", "kind"))
    for b in breakers:
        for kind, total in (("successful", b.successful), ("failed", b.failed), ("ignored", b.ignored)):
            seconds.add_metric((b.name, kind), total.calls, total.seconds)
    yield seconds
    refused: Samples = [((b.name, "not_permitted"), b.not_permitted_calls) for b in breakers]
    yield _counter(f"{prefix}_not_permitted_calls", "Calls that the breaker refused", refused, "kind")


def _rate_limiters(limiters: list[RateLimiterSnapshot]) -> Iterator[Metric]:
    prefix = "resilience4j_ratelimiter"
    samples: Samples = [((r.name,), r.available) for r in limiters]
    yield _gauge(f"{prefix}_available_permissions", "Calls that may still begin in this period", samples)
    yield _gauge(
        f"{prefix}_waiting_threads", "Calls in line for a permission", [((r.name,), r.waiting) for r in limiters]
    )
    samples = [((r.name,), r.refused) for r in limiters]
    yield _counter("resilience_ratelimiter_refused_calls", "Calls that got no permission", samples)


def _bulkheads(bulkheads: list[BulkheadSnapshot]) -> Iterator[Metric]:
    samples: Samples = [((b.name,), b.available) for b in bulkheads]
    yield _gauge("resilience4j_bulkhead_available_concurrent_calls", "Free slots", samples)
    samples = [((b.name,), b.max_concurrent_calls) for b in bulkheads]
    yield _gauge("resilience4j_bulkhead_max_allowed_concurrent_calls", "All slots", samples)
    samples = [((b.name,), b.waiting) for b in bulkheads]
    yield _gauge("resilience_bulkhead_waiting_calls", "Calls in line for a slot", samples)
    samples = [((b.name,), b.refused) for b in bulkheads]
    yield _counter("resilience_bulkhead_refused_calls", "Calls that got no slot", samples)


def _budgets(budgets: list[BudgetSnapshot]) -> Iterator[Metric]:
    prefix = "resilience_retry_budget"
    gauges: tuple[tuple[str, str, Samples], ...] = (
        ("tokens", "Tokens left; no repeats at or below half", [((b.name,), b.tokens) for b in budgets]),
        ("active_calls", "Calls that run now", [((b.name,), b.active_calls) for b in budgets]),
        ("active_retries", "Retries and hedges that run or wait now", [((b.name,), b.active_retries) for b in budgets]),
        ("limit", "Retries and hedges that may be active now", [((b.name,), b.limit) for b in budgets]),
    )
    for name, text, samples in gauges:
        yield _gauge(f"{prefix}_{name}", text, samples)
    yield _counter(f"{prefix}_granted", "Retries and hedges allowed", [((b.name,), b.granted) for b in budgets])
    yield _counter(f"{prefix}_refused", "Retries and hedges refused", [((b.name,), b.refused) for b in budgets])


def _gauge(name: str, text: str, samples: Samples, *labels: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=("name", *labels))
    for values, sample in samples:
        family.add_metric(values, sample)
    return family


def _counter(name: str, text: str, samples: Samples, *labels: str) -> Metric:
    family = CounterMetricFamily(name, text, labels=("name", *labels))
    for values, sample in samples:
        family.add_metric(values, sample)
    return family
