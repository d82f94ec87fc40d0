"""The span of a request: one, named for its route, described as OpenTelemetry's conventions have it."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import DEFAULT_ON
from opentelemetry.trace import SpanKind, StatusCode

from shared.chassis.problems import Problem
from shared.telemetry import requests
from tests.unit.chassis.shop import Shop, failing

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
Spans = Callable[[], list[ReadableSpan]]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """What was recorded since it was last asked for."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=DEFAULT_ON, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(requests, "tracer", provider.get_tracer("test"))

    def recorded() -> list[ReadableSpan]:
        found = list(exporter.get_finished_spans())
        exporter.clear()
        return found

    return recorded


async def test_a_request_is_one_server_span_named_for_its_route_below_its_caller(
    http: httpx.AsyncClient, spans: Spans
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "vendor=1"}
    answer = await http.get("/items/7?limit=3&sig=secret&X-Amz-Signature=secret", headers=headers)
    assert answer.headers["x-trace-id"] == TRACE
    [span] = spans()
    assert (span.name, span.kind, span.status.status_code) == (
        "GET /items/{item_id}",
        SpanKind.SERVER,
        StatusCode.UNSET,
    )
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, CALLER)
    assert span.context.trace_state.get("vendor") == "1"
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/items/{item_id}",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/items/7",
        "url.query": "limit=3&sig=REDACTED&X-Amz-Signature=REDACTED",
        "network.protocol.version": "1.1",
        "server.address": "shop",
        "server.port": 80,
    }


@pytest.mark.parametrize(
    ("error", "status", "failure"),
    [
        (Problem(409, "sold-out", "Sold out"), 409, None),
        (Problem(503, "overloaded", "Too much load"), 503, "503"),
        (LookupError("a defect"), 500, "LookupError"),
    ],
)
async def test_an_answer_below_500_is_no_error_and_a_defect_is_told_by_its_type(
    shop: Shop, http: httpx.AsyncClient, spans: Spans, error: Exception, status: int, failure: str | None
) -> None:
    shop.behave = failing(error)
    await http.get("/anything")
    [span] = spans()
    attributes = span.attributes or {}
    assert (attributes["http.response.status_code"], attributes.get("error.type")) == (status, failure)
    assert span.status.status_code is (StatusCode.ERROR if failure else StatusCode.UNSET)


async def test_what_the_caller_makes_up_names_no_span(http: httpx.AsyncClient, spans: Spans) -> None:
    await http.get("/nowhere/at/all")
    await http.request("BREW", "/items/1")
    await http.get("/items/1", headers={"host": "user:password@shop/path"})
    nowhere, brewed, unknown_host = spans()
    assert (nowhere.name, (nowhere.attributes or {}).get("http.route")) == ("GET", None)
    assert brewed.name == "HTTP /items/{item_id}"
    attributes = brewed.attributes or {}
    assert (attributes["http.request.method"], attributes["http.request.method_original"]) == ("_OTHER", "BREW")
    assert "server.address" not in (unknown_host.attributes or {})


async def test_health_metrics_and_what_the_caller_left_out_are_not_recorded(
    http: httpx.AsyncClient, spans: Spans
) -> None:
    for path in ("/health/live", "/health/ready", "/metrics", "/info"):
        assert (await http.get(path)).status_code == 200
    answer = await http.get("/items/1", headers={"traceparent": f"00-{TRACE}-{CALLER}-00"})
    assert answer.headers["x-trace-id"] == TRACE
    assert spans() == []


async def test_the_span_is_current_in_the_route_and_gone_after_it(
    shop: Shop, http: httpx.AsyncClient, spans: Spans
) -> None:
    async def name_the_span() -> dict[str, Any]:
        trace.get_current_span().set_attribute("order.id", "ord_1")
        return {}

    shop.behave = name_the_span
    await http.get("/anything", headers={"x-experiment-id": "pumba/1"})
    [span] = spans()
    attributes = span.attributes or {}
    assert (attributes["order.id"], attributes["experiment.id"]) == ("ord_1", "pumba/1")
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_request_that_nobody_answers_is_an_error(shop: Shop, spans: Spans) -> None:
    class HungUp(BaseException):
        pass

    async def hang_up() -> Any:
        raise HungUp

    shop.behave = hang_up
    transport = httpx.ASGITransport(shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        with pytest.raises(HungUp):
            await client.get("/anything")
    [span] = spans()
    assert (span.attributes or {})["error.type"].endswith("HungUp")
    assert span.status.status_code is StatusCode.ERROR
