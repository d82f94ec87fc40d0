"""Jaeger's query API over the trace store."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.control_room.room import NOW_US, Room, control_room, new_trace, span

FAST, SLOW, OTHER = new_trace(), new_trace(), new_trace()
AROUND = {"start": NOW_US - 1_000_000, "end": NOW_US + 1_000_000}


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    """Two orders, of which the slow one failed, and what inventory did for the fast one."""
    city = [{"key": "city", "value": {"stringValue": "Graz"}}, {"key": "retry", "value": {"boolValue": True}}]
    async with control_room(tmp_path) as made:
        await made.keep(
            span(FAST, ms=5, attributes=city), span(FAST, "00000000000000b2", "00000000000000a1", name="pay")
        )
        await made.keep(span(FAST, "00000000000000c3", "00000000000000b2", name="POST /hold"), service="inventory")
        event = {"name": "retry", "timeUnixNano": str(NOW_US * 1000), "attributes": city[:1]}
        await made.keep(span(SLOW, ms=2_500, status={"code": 2}, events=[event]))
        await made.keep(span(OTHER, name="GET /products", kind=3), service="inventory")
        yield made


async def found(room: Room, **parameters: Any) -> set[str]:
    return {trace["traceID"] for trace in await room.get("traces", **(AROUND | parameters))}


async def test_services_and_their_operations_are_listed(room: Room) -> None:
    assert await room.get("services") == ["inventory", "order"]
    assert await room.get("services/order/operations") == ["POST /orders", "pay"]
    assert await room.get("operations", service="inventory") == [
        {"name": "GET /products", "spanKind": "client"},
        {"name": "POST /hold", "spanKind": "server"},
    ]
    assert await room.get("operations", service="inventory", spanKind="client") == [
        {"name": "GET /products", "spanKind": "client"}
    ]
    assert await room.get("operations", service="nobody") == []


async def test_a_trace_has_jaegers_shape(room: Room) -> None:
    [trace] = await room.get(f"traces/{FAST}")
    assert set(trace) == {"traceID", "spans", "processes", "warnings"}
    services = {each["spanID"][-2:]: trace["processes"][each["processID"]]["serviceName"] for each in trace["spans"]}
    assert services == {"a1": "order", "b2": "order", "c3": "inventory"}
    for each in trace["spans"]:
        assert set(each) == {
            *("traceID", "spanID", "flags", "operationName", "references", "startTime", "duration"),
            *("tags", "logs", "processID", "warnings"),
        }
    process = trace["processes"]["p1"]
    assert process["tags"] == [{"key": "service.name", "type": "string", "value": process["serviceName"]}]


async def test_a_search_finds_traces_by_service_operation_time_and_duration(room: Room) -> None:
    assert await found(room, service="order") == {FAST, SLOW}
    assert await found(room, service="order", operation="pay") == {FAST}
    assert await found(room, service="inventory") == {FAST, OTHER}
    assert await found(room, service="order", minDuration="1s") == {SLOW}
    assert await found(room, service="order", minDuration="4.5ms", maxDuration="1.5s") == {FAST}
    assert await found(room, service="order", end=NOW_US - 1) == set()
    assert await found(room, service="order", start=NOW_US + 1) == set()
    assert await found(room, service="nobody") == set()


async def test_a_search_finds_traces_by_tags_of_spans_events_and_processes(room: Room) -> None:
    assert await found(room, service="order", tags=json.dumps({"city": "Graz"})) == {FAST, SLOW}
    assert await found(room, service="order", tags=json.dumps({"city": "Graz", "retry": "true"})) == {FAST}
    assert await found(room, service="order", tag="error:true") == {SLOW}
    assert await found(room, service="inventory", tag="service.name:inventory", operation="GET /products") == {OTHER}
    assert await found(room, service="order", tag="city:Wien") == set()


async def test_a_search_is_limited_and_shows_the_newest_first(tmp_path: Path) -> None:
    async with control_room(tmp_path) as room:
        ids = [new_trace() for _ in range(5)]
        for n, trace_id in enumerate(ids):
            start = (NOW_US + n) * 1000
            await room.keep(span(trace_id, startTimeUnixNano=str(start), endTimeUnixNano=str(start + 1)))
        newest = await room.get("traces", service="order", limit=2, **AROUND)
        by_tag = await room.get("traces", service="order", limit=2, tag="span.kind:server", **AROUND)
    assert [trace["traceID"] for trace in newest] == [trace["traceID"] for trace in by_tag] == [ids[4], ids[3]]


async def test_lookback_counts_back_from_now(room: Room) -> None:
    assert await room.get("traces", service="order", lookback="1s") == []
    assert len(await room.get("traces", service="order", lookback="2h")) == 2


async def test_several_traces_can_be_asked_for_by_their_ids(room: Room) -> None:
    listed = await room.get("traces", traceID=[SLOW, OTHER, new_trace()])
    assert [trace["traceID"] for trace in listed] == [SLOW, OTHER]


async def test_dependencies_count_calls_between_services(room: Room) -> None:
    end = NOW_US // 1000 + 60_000
    assert await room.get("dependencies", endTs=end, lookback=3_600_000) == [
        {"parent": "order", "child": "inventory", "callCount": 1}
    ]
    assert await room.get("dependencies", endTs=end, lookback=1) == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("traces", 400),
        ("operations", 400),
        ("traces?service=order&limit=0", 400),
        ("traces?service=order&limit=x", 400),
        ("traces?service=order&start=soon", 400),
        ("traces?service=order&minDuration=long", 400),
        ("traces?service=order&tags=[]", 400),
        ("traces?service=order&tags={", 400),
        ("traces?service=order&tag=alone", 400),
        ("traces?traceID=xyz", 400),
        ("traces/xyz", 400),
        (f"traces/{'1' * 33}", 400),
        ("dependencies?endTs=now", 400),
        (f"traces/{'1' * 32}", 404),
    ],
)
async def test_what_cannot_be_answered_is_refused_in_jaegers_shape(room: Room, path: str, status: int) -> None:
    response = await room.http.get(f"/api/{path}")
    assert response.status_code == status
    answer = response.json()
    assert answer["data"] is None
    assert answer["errors"][0]["code"] == status
    assert answer["errors"][0]["msg"]
