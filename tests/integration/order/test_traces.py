"""An order stays in the trace that it was placed in, whoever goes on with it."""

from collections.abc import AsyncIterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.order import recovery
from services.order.states import State
from tests.integration.order.world import World


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    world = World(database_url)
    await world.start()
    yield world
    await world.close()


async def test_recovery_goes_on_with_an_order_in_the_trace_that_it_was_placed_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    monkeypatch.setattr(recovery, "tracer", tracer)
    world.payment.down = True
    with tracer.start_as_current_span("POST /orders") as request:
        order, answer, _ = await world.place()
    assert (order.state, answer["status"]) == (State.PENDING_PAYMENT, 202)
    world.clock.seconds += 10
    await world.recovery.sweep()
    resumed = [span for span in exporter.get_finished_spans() if span.name == "resumeOrder"]
    assert len(resumed) == 1
    context = request.get_span_context()
    assert (resumed[0].context.trace_id, resumed[0].parent.span_id) == (context.trace_id, context.span_id)
    assert dict(resumed[0].attributes) == {"order.id": order.id, "order.state": "PENDING_PAYMENT"}
