"""What operators rely on in the order service: admin routes, hot reload, shared breakers, span events."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from nacl.public import PrivateKey
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import services.order
from services.order.app import create_app
from services.order.settings import OrderSettings
from shared.resilience import CallNotPermitted, Registry, State
from tests.fixtures.nats import NatsServer
from tests.integration.messaging.conftest import eventually

ADMIN_TOKEN = "an-admin-token-for-orders"
CONFIG = Path(services.order.__path__[0]) / "resilience.yaml"


class Replica:
    """One started order service."""

    def __init__(self, app: FastAPI, http: httpx.AsyncClient) -> None:
        self.app, self.http = app, http

    @property
    def registry(self) -> Registry:
        registry: Registry = self.app.state.service.registry
        return registry

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        response = await self.http.request(method, f"/admin/resilience{path}", json=body)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """`await start("order-1", nats_url=...)`: an order service without partners."""
    async with AsyncExitStack() as stack:

        async def make(instance: str, **settings: Any) -> Replica:
            key = base64.b64encode(bytes(PrivateKey.generate().public_key)).decode()
            app = create_app(
                OrderSettings(
                    instance=instance,
                    database_url=f"sqlite+aiosqlite:///{tmp_path}/{instance}.sqlite",
                    admin_token=ADMIN_TOKEN,
                    payment_url="http://127.0.0.1:9",
                    inventory_url="http://127.0.0.1:9",
                    order_to_payment_key="p" * 40,
                    order_to_inventory_key="i" * 40,
                    card_sealing_public_key=key,
                    **settings,
                )
            )
            await stack.enter_async_context(app.router.lifespan_context(app))
            headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://order", headers=headers)
            return Replica(app, await stack.enter_async_context(client))

        yield make


async def test_its_pipelines_are_seen_and_switched_by_operators(start: Any) -> None:
    replica = await start("order-1")
    body = await replica.admin("GET", "")
    assert body["replica"] == "order-1"
    assert {"payment.process", "inventory.availability", "order.checkout"} <= {each["name"] for each in body["items"]}
    await replica.admin("PATCH", "/payment.process", {"layers": {"retry": False}})
    assert replica.registry.pipeline("payment.process").layers["retry"] is False
    await replica.admin("POST", "/breakers/payment", {"to": "forced_open"})
    with pytest.raises(CallNotPermitted):
        await replica.registry.pipeline("payment.refund").call(httpx.AsyncClient().aclose)
    replica.http.headers.pop("Authorization")
    assert (await replica.http.get("/admin/resilience")).status_code == 401


async def test_what_does_not_fit_is_refused_before_it_is_read_and_taken_again_when_it_fits(start: Any) -> None:
    replica = await start("order-1")
    door = replica.registry.pipeline("order.checkout").bulkhead
    assert door.config.max_wait_duration < 1  # who is taken is answered within a second or so
    door.reconfigure(door.config.model_copy(update={"max_wait_duration": 60.0}))
    inside, line = door.config.max_concurrent_calls, door.config.max_waiting
    waiting = [asyncio.create_task(door.acquire()) for _ in range(inside + line)]
    await eventually(lambda: door.full)
    unreadable = {"content": b"{", "headers": {"content-type": "application/json", "idempotency-key": "late"}}
    refused = await replica.http.post("/orders", **unreadable)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["type"] == "/problems/overloaded"
    assert (await replica.http.get("/orders")).status_code == 200
    door.release()
    await eventually(lambda: not door.full)
    assert (await replica.http.post("/orders", **unreadable)).status_code == 422
    metrics = (await replica.http.get("/metrics")).text
    assert 'requests_shed_total{priority="new",reason="line"} 1.0' in metrics
    for each in waiting:
        each.cancel()


async def test_a_changed_file_takes_effect_and_a_bad_one_is_counted(start: Any, tmp_path: Path) -> None:
    file = tmp_path / "resilience.yaml"
    file.write_text(CONFIG.read_text())
    replica = await start("order-1", resilience_file=file, resilience_reload_seconds=0.02)
    pipeline = replica.registry.pipeline("payment.process")
    before = pipeline.timeout.duration
    file.write_text(CONFIG.read_text().replace(f"duration: {before * 1000:.0f}ms", "duration: 650ms"))
    await eventually(lambda: pipeline.timeout.duration == 0.65)
    file.write_text("instances: {payment.process: {timeout: {duration: never}}}")
    await eventually(lambda: replica.registry.reloads["refused"] == 1)
    assert pipeline.timeout.duration == 0.65
    metrics = (await replica.http.get("/metrics")).text
    assert 'resilience_config_reloads_total{outcome="applied"} 1.0' in metrics
    assert 'resilience_config_reloads_total{outcome="refused"} 1.0' in metrics


async def test_replicas_share_their_breakers(start: Any, nats_server: NatsServer) -> None:
    one = await start("order-1", nats_url=nats_server.url)
    two = await start("order-2", nats_url=nats_server.url)
    alone = await start("order-3", nats_url=nats_server.url, share_breakers=False)
    await one.admin("POST", "/breakers/payment", {"to": "open", "wait": "9s"})
    await eventually(lambda: two.registry.breakers["payment"].state is State.OPEN)
    body = await two.admin("GET", "/payment.process")
    assert "OpeningFollowed" in [event["kind"] for event in body["events"]]
    assert alone.registry.breakers["payment"].state is State.CLOSED


async def test_a_trace_shows_retries_refusals_and_transitions(start: Any) -> None:
    replica = await start("order-1")
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    pipeline = replica.registry.pipeline("payment.process")

    async def unreachable() -> None:
        raise httpx.ConnectError("no")

    with provider.get_tracer("test").start_as_current_span("processPayment"):
        with pytest.raises(httpx.ConnectError):
            await pipeline.call(unreachable)
        replica.registry.breakers["payment"].transition_to_open()
        with pytest.raises(CallNotPermitted):
            await pipeline.call(unreachable)
    [span] = exporter.get_finished_spans()
    kinds = [event.name.removeprefix("resilience.") for event in span.events]
    assert {"RetryScheduled", "StateTransition", "CallRefused"} <= set(kinds)
