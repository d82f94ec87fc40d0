"""The frame around every request: errors, limits, deadlines, priorities, traces."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.routing import Route

from shared.chassis.metrics import RequestMetrics, expose
from tests.fixtures.examples import examples
from tests.unit.chassis.shop import ERRORS, Shop, failing

BASKET = {"customer": "c-1", "items": [{"sku": "lamp", "quantity": 1}]}
JSON = {"content-type": "application/json"}
TRACE = "0af7651916cd43dd8448eb211c80319c"
PROMETHEUS_ACCEPTS = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


def assert_problem(answer: httpx.Response, status: int, slug: str | None = None) -> dict[str, Any]:
    """The answer is a problem of RFC 9457 with every member that the contract names; returns its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(answer.content.decode())
    assert {"type", "title", "status", "detail", "instance", "trace_id"} <= set(body)
    assert body["status"] == status
    assert re.fullmatch("[0-9a-f]{32}", body["trace_id"])
    assert answer.headers["x-trace-id"] == body["trace_id"]
    assert slug is None or body["type"] == f"/problems/{slug}"
    assert "hunter2" not in answer.text
    return body


async def call(shop: Shop, method: str, path: str, *, receive: Any = None, **scope: Any) -> httpx.Response:
    """One request without a client in between, so that nothing about it is made valid on the way."""
    messages: list[Any] = []

    arrived = False

    async def nothing() -> dict[str, Any]:
        nonlocal arrived
        if arrived:
            await never()
        arrived = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    whole = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode("utf-8", "replace"), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"shop")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {}, **scope,
    }  # fmt: skip
    await shop.app(whole, receive or nothing, send)
    body = b"".join(message.get("body", b"") for message in messages[1:])
    return httpx.Response(messages[0]["status"], headers=messages[0]["headers"], content=body)


# --- errors ---------------------------------------------------------------------------------------------------------


async def test_no_such_path(http: httpx.AsyncClient) -> None:
    body = assert_problem(await http.get("/nowhere"), 404, "not-found")
    assert body["instance"] == "/nowhere"
    assert body["title"] == "Not Found"


@pytest.mark.parametrize("method", ["DELETE", "HEAD", "OPTIONS", "PATCH"])
async def test_a_method_that_the_path_does_not_take(http: httpx.AsyncClient, method: str) -> None:
    answer = await http.request(method, "/baskets")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.headers["x-trace-id"]
    if method != "HEAD":
        assert_problem(answer, 405, "method-not-allowed")


@pytest.mark.parametrize("name", ERRORS)
async def test_what_a_handler_raises_becomes_a_problem(
    shop: Shop, http: httpx.AsyncClient, logged: list[dict[str, Any]], name: str
) -> None:
    error, status, slug = ERRORS[name]
    shop.behave = failing(error)
    body = assert_problem(await http.get("/anything"), status, slug)
    assert body["instance"] == "/anything"
    [line] = [record for record in logged if record["event"] != "service started"]
    assert (line["event"], line["status"]) == ("request", status)
    assert bool(line.get("exc_info")) == (status == 500)
    assert (line["log_level"] == "error") == (status == 500)


async def test_a_problem_carries_its_extensions_and_headers(shop: Shop, http: httpx.AsyncClient) -> None:
    shop.behave = failing(ERRORS["problem"][0])
    body = assert_problem(await http.get("/anything"), 409, "sold-out")
    assert (body["detail"], body["items"]) == ("nothing left", ["a"])
    shop.behave = failing(ERRORS["database"][0])
    assert (await http.get("/anything")).headers["retry-after"] == "1"


async def test_an_error_after_the_answer_began_ends_it_without_a_second_one(shop: Shop) -> None:
    shop.behave = failing(LookupError())
    answer = await call(shop, "GET", "/stream")
    assert answer.status_code == 200
    assert answer.content == b"one"


async def test_a_cancelled_request_is_cancelled_and_counted_out(shop: Shop, logged: list[dict[str, Any]]) -> None:
    task = asyncio.create_task(call(shop, "GET", "/anything"))
    await shop.entered.wait()
    assert shop.chassis.admission.in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert shop.chassis.admission.in_flight == 0
    assert [r["status"] for r in logged if r["event"] == "request"] == [None]


# --- input ----------------------------------------------------------------------------------------------------------


async def fields(http: httpx.AsyncClient, content: bytes | str, **headers: str) -> list[str]:
    answer = await http.post("/baskets", content=content, headers={**JSON, **headers})
    return [error["field"] for error in assert_problem(answer, 422, "invalid-input")["errors"]]


async def test_wrong_fields_are_named_as_the_caller_wrote_them(http: httpx.AsyncClient) -> None:
    basket = {"items": [{"sku": "x", "quantity": 1}, {"sku": "", "quantity": 0}], "colour": 1, "notes": {"a": 1}}
    named = await fields(http, json.dumps(basket))
    assert sorted(named) == ["colour", "customer", "items[1].quantity", "items[1].sku", "notes.a"]


@pytest.mark.parametrize("content", [b"{", b"", b"nul", b'{"a":', b"[1,]", b"\xef\xbb\xbf{}", b"{'a': 1}"])
async def test_what_is_no_json_is_an_error_of_the_body(http: httpx.AsyncClient, content: bytes) -> None:
    assert await fields(http, content) == ["body"]


async def test_a_wrong_query_parameter_and_header_are_named(http: httpx.AsyncClient) -> None:
    answer = await http.get("/items/x", params={"limit": "none"}, headers={"Idempotency-Key": "much too long"})
    errors = assert_problem(answer, 422, "invalid-input")["errors"]
    assert sorted(error["field"] for error in errors) == ["idempotency-key", "item_id", "limit"]
    assert "much too long" not in answer.text


NASTY = [
    b'{"customer": "\\ud800", "items": [{"sku": "a", "quantity": 1}]}',
    b'{"customer": "c", "items": [{"sku": "\\udfff", "quantity": 1}]}',
    b'{"\\ud800": 1}',
    b'{"customer": "c", "items": [{"\\ud800\\ud800": 1, "sku": "a", "quantity": 1}]}',
    b'{"customer": "c", "items": [{"sku": "a", "quantity": 1}], "notes": {"\\ud800": "\\ud800"}}',
    b'{"customer": "\\u0000", "items": [{"sku": "\\u0000", "quantity": 1}]}',
    b'{"customer": "c", "items": [{"sku": "a", "quantity": 1' + b"0" * 500 + b"}]}",
    b'{"customer": "c", "items": [{"sku": "a", "quantity": 1e999}]}',
    b'{"customer": "c", "items": [{"sku": "a", "quantity": -1e999}]}',
    b'{"customer": "c", "items": [{"sku": "a", "quantity": NaN}]}',
    b'{"customer": "c", "items": [{"sku": "a", "quantity": 1, "weight": NaN}]}',
    b'{"customer": "c", "items": [{"sku": "a", "quantity": 1, "weight": 1e999}]}',
    b'{"customer": "c", "items": [{"sku": "a", "quantity": 1, "quantity": 2}]}',
    b'{"customer": "c", "customer": 1, "items": 1}',
    b"[" * 500,
    b"[" * 500 + b"]" * 500,
    b'{"a":' * 100 + b"1" + b"}" * 100,
    b"\xff\xfe\xfd",
    b'"\xed\xa0\x80"',
    b"null",
    b"[]",
    b'"text"',
    b"-0",
    json.dumps(BASKET).encode("utf-16"),
]


@pytest.mark.parametrize("content", NASTY, ids=range(len(NASTY)))
async def test_nasty_json_is_never_an_error_of_ours(http: httpx.AsyncClient, content: bytes) -> None:
    answer = await http.post("/baskets", content=content, headers=JSON)
    json.loads(answer.content.decode("utf-8"), parse_constant=pytest.fail)
    if answer.status_code >= 300:
        assert answer.status_code in (400, 422)
        assert_problem(answer, answer.status_code)


@pytest.mark.parametrize("size", [5_000, 50_000])
async def test_big_nasty_json_is_never_an_error_of_ours(tmp_path: Any, size: int) -> None:
    roomy = Shop(tmp_path, max_body_bytes=1_000_000)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(roomy.app), base_url="http://shop") as http:
        for content in (b"1" + b"0" * size, b"[" * size, b"[" * size + b"]" * size, b'{"a":' * size, b"-" * size):
            number = b'{"customer": "c", "items": [{"sku": "a", "quantity": ' + content + b"}]}"
            assert await fields(http, content) == await fields(http, number) == ["body"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "", "application/xml", "application/json; charset=klingon", "\x00", "a/b/c"]
)
async def test_another_content_type_is_never_an_error_of_ours(http: httpx.AsyncClient, kind: str) -> None:
    answer = await http.post("/baskets", content=json.dumps(BASKET), headers={"content-type": kind})
    assert answer.status_code in (201, 422)
    if answer.status_code == 422:
        assert_problem(answer, 422, "invalid-input")


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
        lambda v: st.lists(v) | st.dictionaries(st.text(st.characters(exclude_categories=())), v),
        max_leaves=10,
    )
)
async def test_no_json_at_all_is_an_error_of_ours(http: httpx.AsyncClient, content: Any) -> None:
    for value in (content, {**BASKET, "notes": content}, {"customer": content, "items": [content]}):
        answer = await http.post("/baskets", content=json.dumps(value)[:1000], headers=JSON)
        assert answer.status_code < 500
        json.loads(answer.content.decode("utf-8"), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    "path", ["/nowhere/\ud800", "/names/\ufffd", "/names/\x00", "/items/\ud800", "//", "/names/" + "x" * 9_000]
)
async def test_nasty_paths_and_queries_are_never_an_error_of_ours(shop: Shop, path: str) -> None:
    queries = (b"", b"q=%ff%ed%a0%80", b"q=\xff\xed\xa0\x80", b"limit=\xff&q=%00", b"&&==&q", b"q=" + b"%" * 99)
    for method, query in itertools.product(("GET", "POST", "DELETE"), queries):
        answer = await call(shop, method, path, query_string=query)
        assert answer.status_code < 500
        json.loads(answer.content.decode("utf-8"))


@pytest.mark.parametrize("host", [b"[", b"\xff", b"a b", b"shop:port", b"", b"[::1]:x", b"@", b"\x00"])
async def test_a_nasty_host_is_never_an_error_of_ours(shop: Shop, host: bytes) -> None:
    for path in ("/nowhere", "/baskets", "/items/1", "/items/x", "/items/1/"):
        assert (await call(shop, "GET", path, headers=[(b"host", host)])).status_code < 500


@pytest.mark.parametrize(
    "name",
    ["authorization", "idempotency-key", "x-deadline-ms", "x-priority", "traceparent", "tracestate", "baggage",
     "content-type", "content-length", "accept", "cookie", "x-retry-attempt"],
)  # fmt: skip
async def test_nasty_headers_are_never_an_error_of_ours(shop: Shop, name: str) -> None:
    values = (b"\xff\xfe\x80", b"", b" ", b"\x00", b"9" * 5_000, b"-1", b"1e3", "\u0661".encode())
    paths = ("/items/1", "/for-order", "/for-operator", "/nowhere", "/health/live")
    for value, path in itertools.product(values, paths):
        answer = await call(shop, "GET", path, headers=[(b"host", b"shop"), (name.encode(), value)])
        assert answer.status_code < 500
        json.loads(answer.content.decode("utf-8"))


# --- size and time --------------------------------------------------------------------------------------------------


async def test_a_declared_body_over_the_limit_is_refused_unread(shop: Shop) -> None:
    async def receive() -> Any:
        pytest.fail("the body was read")

    answer = await call(shop, "POST", "/upload", receive=receive, headers=[(b"content-length", b"1025")])
    body = assert_problem(answer, 413, "body-too-large")
    assert "1024" in body["detail"]
    assert answer.headers["connection"] == "close"


async def chunks(number: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield b"x" * 100


async def test_a_streamed_body_over_the_limit_is_refused(http: httpx.AsyncClient) -> None:
    assert (await http.post("/upload", content=chunks(10))).json() == {"bytes": 1000}
    for path in ("/upload", "/baskets"):
        answer = await http.post(path, content=chunks(11), headers=JSON)
        assert "content-length" not in answer.request.headers
        assert_problem(answer, 413, "body-too-large")


async def test_a_body_at_the_limit_is_taken(http: httpx.AsyncClient) -> None:
    assert (await http.post("/upload", content=b"x" * 1024)).json() == {"bytes": 1024}
    assert_problem(await http.post("/upload", content=b"x" * 1025), 413)


async def never() -> Any:
    await asyncio.Event().wait()


async def test_a_body_that_does_not_arrive_in_time_is_408_and_ends_the_connection(shop: Shop) -> None:
    answer = await call(shop, "POST", "/upload", receive=never, headers=[(b"x-deadline-ms", b"30")])
    assert_problem(answer, 408, "request-timeout")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_handler_that_is_too_slow_is_cancelled_and_answered_504(shop: Shop, method: str) -> None:
    answer = await call(shop, method, "/anything", receive=never, headers=[(b"x-deadline-ms", b"30")])
    assert_problem(answer, 504, "deadline-exceeded")
    assert shop.ended.is_set()


async def test_no_time_left_is_504_at_once(shop: Shop) -> None:
    assert_problem(await call(shop, "GET", "/anything", headers=[(b"x-deadline-ms", b"0")]), 504, "deadline-exceeded")


async def test_the_own_limit_holds_without_a_deadline(tmp_path: Any) -> None:
    hasty = Shop(tmp_path, request_seconds=0.03)
    assert_problem(await call(hasty, "GET", "/anything"), 504)
    assert_problem(await call(hasty, "GET", "/anything", headers=[(b"x-deadline-ms", b"60000")]), 504)


@pytest.mark.parametrize(
    ("header", "most"),
    [("500", 0.5), ("999999", 30), ("0500", 0.5)]
    + [(garbage, 30) for garbage in ("", "-5", "soon", "1.5", "1e2", "99999999999999", "\u0665", " 5", "0x10")],
)
async def test_the_deadline_is_the_smaller_one_and_garbage_is_none(shop: Shop, header: str, most: float) -> None:
    answer = await call(shop, "GET", "/items/1", headers=[(b"x-deadline-ms", header.encode())])
    left = answer.json()["remaining"]
    assert left <= most
    assert (left > 1) == (most > 1), "garbage must not shorten the service's own limit"


async def test_a_client_that_goes_away_while_it_sends_disturbs_nobody(shop: Shop, http: httpx.AsyncClient) -> None:
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    answer = await call(shop, "POST", "/baskets", receive=receive, headers=[(b"content-type", b"application/json")])
    assert answer.status_code < 500
    assert shop.chassis.admission.in_flight == 0
    assert (await http.get("/items/1")).status_code == 200


# --- load -----------------------------------------------------------------------------------------------------------


async def test_new_is_shed_before_running_and_health_never(shop: Shop, http: httpx.AsyncClient) -> None:
    busy = []
    for expected_new, expected_running in [(201, 200)] * 4 + [(503, 200), (503, 503)]:
        new = await http.post("/baskets", json=BASKET)
        running = await http.get("/items/1")
        lowered = await http.get("/items/1", headers={"x-priority": " New"})
        raised = await http.post("/baskets", json=BASKET, headers={"x-priority": "running"})
        assert (new.status_code, running.status_code) == (expected_new, expected_running)
        assert (raised.status_code, lowered.status_code) == (expected_new, 200 if expected_new == 201 else 503)
        for path in ("/health/live", "/health/ready", "/health/startup", "/metrics", "/info"):
            assert (await http.get(path)).status_code == 200
        shop.entered.clear()
        if len(busy) < 5:
            busy.append(asyncio.create_task(http.get("/anything")))
            await shop.entered.wait()
    body = assert_problem(new, 503, "overloaded")
    assert (body["reason"], new.headers["retry-after"]) == ("requests", "1")
    shop.leave.set()
    assert {answer.status_code for answer in await asyncio.gather(*busy)} == {200}
    assert (await http.post("/baskets", json=BASKET)).status_code == 201


async def test_a_late_event_loop_sheds_new_requests_first(shop: Shop, http: httpx.AsyncClient) -> None:
    shop.chassis.admission.lag_seconds = 1.0
    assert assert_problem(await http.post("/baskets", json=BASKET), 503)["reason"] == "event_loop_lag"
    assert (await http.get("/items/1")).status_code == 200
    shop.chassis.admission.lag_seconds = 4.0
    assert_problem(await http.get("/items/1"), 503)
    assert (await http.get("/health/live")).status_code == 200


# --- traces, metrics, logs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", ["00", "01"])
async def test_the_answer_names_the_trace_of_the_request(
    http: httpx.AsyncClient, shop: Shop, logged: list[dict[str, Any]], flags: str
) -> None:
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-{flags}"}
    shop.behave = failing(LookupError())
    for path, status in (("/items/1", 200), ("/nowhere", 404), ("/items/x", 422), ("/anything", 500)):
        answer = await http.get(path, headers=headers)
        assert (answer.status_code, answer.headers["x-trace-id"]) == (status, TRACE)


async def test_without_a_usable_trace_context_a_new_trace_begins(http: httpx.AsyncClient) -> None:
    seen = set()
    for value in ("", "garbage", f"00-{'0' * 32}-b7ad6b7169203331-01", f"ff-{TRACE}-b7ad6b7169203331-01"):
        answer = await http.get("/items/1", headers={"traceparent": value})
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-trace-id"])
        assert answer.headers["x-trace-id"] not in (TRACE, "0" * 32)
        seen.add(answer.headers["x-trace-id"])
    assert len(seen) == 4


async def test_every_request_is_one_log_line(http: httpx.AsyncClient, logged: list[dict[str, Any]]) -> None:
    await http.get("/items/7?secret=1")
    await http.get("/nowhere/" + "x" * 9_000)
    await http.get("/health/live")
    lines = [record for record in logged if record["event"] == "request"]
    assert [(line["route"], line["status"], line["priority"]) for line in lines] == [
        ("/items/{item_id}", 200, "running"),
        ("none", 404, "running"),
    ]
    assert lines[0]["path"] == "/items/7"
    assert len(lines[1]["path"]) == 200


async def test_requests_are_counted_by_route_method_and_status(shop: Shop, http: httpx.AsyncClient) -> None:
    await http.get("/items/1")
    await http.get("/items/2")
    await http.get("/nowhere")
    await http.delete("/items/1")
    await http.post("/upload", content=b"x" * 2000)
    shop.chassis.admission.lag_seconds = 9.0
    await http.post("/baskets", json=BASKET)
    shop.chassis.admission.lag_seconds = 0.0
    text = (await http.get("/metrics")).text
    for handler, method, status, number in [
        ("/items/{item_id}", "GET", 200, 2),
        ("none", "GET", 404, 1),
        ("/items/{item_id}", "DELETE", 405, 1),
        ("/upload", "POST", 413, 1),
        ("/baskets", "POST", 503, 1),
    ]:
        labels = f'{{handler="{handler}",method="{method}",service="shop",status="{status}"}}'
        assert f"http_requests_total{labels} {number}.0\n" in text
        assert f"http_request_duration_seconds_count{labels} {number}.0\n" in text
    assert "health" not in text.replace("health checks left out", "")
    assert 'db_pool_connections_max{pool="write",service="shop"} 1.0' in text
    assert 'requests_shed_total{priority="new",reason="event_loop_lag"} 1.0' in text
    assert "process_resident_memory_bytes" in text


async def test_a_bucket_names_the_last_recorded_trace_in_it_to_who_takes_openmetrics(shop: Shop) -> None:
    app, registry = FastAPI(), CollectorRegistry()
    metrics = RequestMetrics("till", registry)
    expose(app, "till", shop.chassis.database, registry)
    scope = {"type": "http", "method": "GET", "route": Route("/items", list)}
    for number, seconds, flags in [(1, 0.02, 1), (2, 0.3, 1), (3, 0.4, 1), (4, 0.4, 0), (5, 2.0, 0)]:
        context = SpanContext(number, number, is_remote=False, trace_flags=TraceFlags(flags))
        with trace.use_span(NonRecordingSpan(context)):
            metrics.note(scope, 200, seconds)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://till") as client:
        plain = await client.get("/metrics")
        rich = await client.get("/metrics", headers={"accept": PROMETHEUS_ACCEPTS})
    assert plain.headers["content-type"].startswith("text/plain")
    assert "trace_id" not in plain.text
    assert rich.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in text_string_to_metric_families(rich.text)}
    samples = families["http_request_duration_seconds"].samples
    found = {sample.labels["le"]: sample.exemplar for sample in samples if sample.exemplar}
    assert {bucket: (exemplar.labels, exemplar.value) for bucket, exemplar in found.items()} == {
        "0.025": ({"trace_id": f"{1:032x}"}, 0.02),
        "0.5": ({"trace_id": f"{3:032x}"}, 0.4),
    }


def test_made_up_methods_take_no_memory() -> None:
    metrics = RequestMetrics("shop", CollectorRegistry())
    for number in range(1_000):
        metrics.note({"type": "http", "method": f"M{number}", "route": Route("/items", list)}, 405, 0.001)
    assert len(metrics._children) == 1


async def test_methods_that_nobody_knows_make_one_label(shop: Shop, http: httpx.AsyncClient) -> None:
    for method in ("BREW", "WHEN", "X" * 100):
        assert (await call(shop, method, "/items/1")).status_code == 405
    text = (await http.get("/metrics")).text
    assert 'method="other",service="shop",status="405"} 3.0' in text
    assert "BREW" not in text
    assert len(shop.app.state.chassis.metrics._names_to_collectors) > 0
