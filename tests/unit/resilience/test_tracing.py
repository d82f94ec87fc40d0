"""Span events: what a trace shows of the library."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.resilience import CircuitBreakerConfig, Pipeline, RetryConfig
from shared.resilience.testing import FakeClock
from shared.resilience.tracing import NOTEWORTHY, add_span_event
from tests.unit.resilience.dependencies import Dependency, DownError


@pytest.fixture
def pipeline(clock: FakeClock) -> Pipeline:
    pipeline = Pipeline(
        "stock",
        retry=RetryConfig(max_attempts=2, wait_duration=0.5, jitter="none"),
        circuit_breaker=CircuitBreakerConfig(),
        clock=clock,
    )
    pipeline.subscribe(add_span_event, *NOTEWORTHY)
    return pipeline


async def test_a_retry_shows_in_the_current_span_without_the_errors_text(clock: FakeClock, pipeline: Pipeline) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("call"):
        await clock.run(pipeline.call(Dependency(clock, DownError("card 4111"), 1), idempotent=True))
    [span] = exporter.get_finished_spans()
    scheduled, succeeded = span.events
    assert scheduled.name == "resilience.RetryScheduled"
    assert dict(scheduled.attributes or {}) == {
        "resilience.name": "stock",
        "resilience.attempt": 2,
        "resilience.wait": 0.5,
        "resilience.error": "DownError",
    }
    assert succeeded.name == "resilience.RetrySucceeded"


async def test_without_a_span_nothing_happens(clock: FakeClock, pipeline: Pipeline) -> None:
    assert await clock.run(pipeline.call(Dependency(clock, DownError(), 1), idempotent=True)) == 1
