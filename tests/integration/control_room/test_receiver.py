"""The OTLP receiver: what it takes in, and what it refuses."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.integration.control_room.room import as_json, control_room, gzipped, new_trace, protobuf, request, span

PROTOBUF = "application/x-protobuf"


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("content_type", ["application/json", PROTOBUF])
async def test_a_span_reads_the_same_in_either_encoding_packed_or_not(
    tmp_path: Path, content_type: str, encoding: str
) -> None:
    trace_id = new_trace()
    body = protobuf(trace_id) if content_type == PROTOBUF else as_json(trace_id)
    async with control_room(tmp_path) as room:
        body = gzipped(body) if encoding == "gzip" else body
        response = await room.send(body, content_type=content_type, content_encoding=encoding)
        assert (response.status_code, response.headers["content-type"]) == (200, content_type)
        room.time.seconds += 3
        await room.intake.work()
        [trace] = await room.get(f"traces/{trace_id}")
    [shown] = trace["spans"]
    assert trace["processes"][shown["processID"]]["serviceName"] == "order"
    assert (shown["operationName"], shown["duration"]) == ("POST /orders", 5000)
    assert shown["startTime"] == 1_700_000_000_000_000
    assert shown["references"] == [
        {"refType": "CHILD_OF", "traceID": trace_id, "spanID": "00000000000000b2"},
        {"refType": "FOLLOWS_FROM", "traceID": trace_id, "spanID": "00000000000000c3"},
    ]
    tags = {tag["key"]: (tag["type"], tag["value"]) for tag in shown["tags"]}
    assert tags == {
        "text": ("string", "words"),
        "number": ("int64", 7),
        "share": ("float64", 0.5),
        "yes": ("bool", True),
        "list": ("string", '["first"]'),
        "span.kind": ("string", "server"),
        "otel.scope.name": ("string", "test"),
        "error": ("bool", True),
        "otel.status_code": ("string", "ERROR"),
        "otel.status_description": ("string", "it failed"),
    }
    [log] = shown["logs"]
    assert log["timestamp"] == 1_700_000_000_001_000
    assert [(each["key"], each["value"]) for each in log["fields"]] == [("event", "Inventory reserved"), ("n", 1)]


@pytest.mark.parametrize(
    "authorization", ["", "Bearer ", "Bearer wrong-token-altogether", "Basic b3JkZXI6eA==", "Bearer \u00ff"]
)
async def test_without_a_senders_token_nothing_is_taken_in(tmp_path: Path, authorization: str) -> None:
    async with control_room(tmp_path) as room:
        response = await room.http.post(
            "/v1/traces",
            content=request(span(new_trace())),
            headers={"content-type": "application/json", b"authorization": authorization.encode("latin-1")},
        )
        assert response.status_code == 401
        assert room.intake.waiting == 0


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'{"resourceSpans": 1}', "application/json"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": {}}]}]}', "application/json"),
        (b'{"resourceSpans": [{"resource": {"attributes": [{"value": {}}]}}]}', "application/json"),
        (b"\xff\xff\xff\xff", PROTOBUF),
    ],
)
async def test_what_is_no_otlp_is_refused_as_bad_input(tmp_path: Path, body: bytes, content_type: str) -> None:
    async with control_room(tmp_path) as room:
        response = await room.send(body, content_type=content_type)
        assert response.status_code in (400, 422)
        assert room.intake.waiting == 0


async def test_malformed_spans_are_counted_and_told_and_the_good_ones_beside_them_are_kept(tmp_path: Path) -> None:
    good = new_trace()
    bad = [
        span("0" * 32),
        span("xyz"),
        span(good, span_id="12"),
        span(good, "00000000000000a2", endTimeUnixNano="1"),
        span(good, "00000000000000a3", startTimeUnixNano="soon"),
    ]
    unreadable = span(good, "00000000000000a4", attributes=[{"key": "n", "value": {"intValue": "1e999"}}])
    async with control_room(tmp_path) as room:
        response = await room.send(request(span(good), *bad, unreadable))
        assert response.json()["partialSuccess"]["rejectedSpans"] == "5"
        room.time.seconds += 3
        await room.intake.work()
        [trace] = await room.get(f"traces/{good}")
        assert [each["spanID"] for each in trace["spans"]] == ["00000000000000a1"]
        assert await room.metric("otlp_spans_dropped_total", reason="malformed") == 6
        assert room.intake.waiting == 0


async def test_protobuf_with_a_malformed_span_is_answered_with_a_partial_success(tmp_path: Path) -> None:
    async with control_room(tmp_path) as room:
        response = await room.send(protobuf("0" * 32), content_type=PROTOBUF)
    assert ExportTraceServiceResponse.FromString(response.content).partial_success.rejected_spans == 1


async def test_too_large_a_request_is_refused(tmp_path: Path) -> None:
    async with control_room(tmp_path, max_body_bytes=2_000) as room:
        body = request(*(span(new_trace()) for _ in range(20)))
        assert len(body) > 2_000
        assert (await room.send(body)).status_code == 413


async def test_a_small_request_that_unpacks_to_a_gigabyte_is_refused_before_it_does(tmp_path: Path) -> None:
    bomb = gzip.compress(b" " * 100_000_000)
    async with control_room(tmp_path) as room:
        response = await room.send(bomb, content_encoding="gzip")
        assert response.status_code == 413
        assert response.json()["type"] == "/problems/body-too-large"


@pytest.mark.parametrize(
    ("body", "status"), [(b"no gzip", 400), (b"\x1f\x8bno gzip", 400), (gzip.compress(b"{}", mtime=0)[:-6], 400)]
)
async def test_what_claims_to_be_gzip_and_is_not_is_refused(tmp_path: Path, body: bytes, status: int) -> None:
    async with control_room(tmp_path) as room:
        assert (await room.send(body, content_encoding="gzip")).status_code == status


async def test_unknown_types_and_encodings_are_refused_as_such(tmp_path: Path) -> None:
    async with control_room(tmp_path) as room:
        assert (await room.send(b"{}", content_type="text/plain")).status_code == 415
        assert (await room.send(b"{}", content_encoding="br")).status_code == 415


async def test_a_full_queue_refuses_whole_requests_and_counts_their_spans(tmp_path: Path) -> None:
    async with control_room(tmp_path, queue_spans=5) as room:
        three = [span(new_trace()) for _ in range(3)]
        assert (await room.send(request(*three))).status_code == 200
        refused = await room.send(request(*three))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert await room.metric("otlp_spans_dropped_total", reason="queue_full") == 3
        room.time.seconds += 3
        await room.intake.work()
        assert (await room.send(request(*three))).status_code == 200


async def test_the_queue_is_bounded_in_bytes_too(tmp_path: Path) -> None:
    one = request(span(new_trace(), attributes=[{"key": "text", "value": {"stringValue": "x" * 1_500}}]))
    async with control_room(tmp_path, queue_bytes=3 * len(one)) as room:
        statuses = [(await room.send(one)).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 503]


async def test_what_was_taken_in_is_stored_when_the_control_room_stops(tmp_path: Path) -> None:
    trace_id = new_trace()
    async with control_room(tmp_path) as room:
        await room.send(request(span(trace_id)))
    async with control_room(tmp_path) as room:
        assert [trace["traceID"] for trace in await room.get(f"traces/{trace_id}")] == [trace_id]


async def test_a_span_that_is_sent_again_is_there_once(tmp_path: Path) -> None:
    trace_id = new_trace()
    async with control_room(tmp_path) as room:
        for _ in range(2):
            await room.keep(span(trace_id))
        [trace] = await room.get(f"traces/{trace_id}")
    assert len(trace["spans"]) == 1


async def test_nothing_a_sender_writes_stops_the_writer(tmp_path: Path) -> None:
    hostile = [
        span(new_trace(), name="x" * 100_000, kind=99),
        span(new_trace(), name="\x00'; DROP TABLE spans", kind="SPAN_KIND_CLIENT"),
        span(new_trace(), attributes=[{"key": "k", "value": {"stringValue": "y" * 10_000}}] * 1_000),
        span(new_trace(), events=[{"name": "e"}] * 1_000, status={"code": "STATUS_CODE_ERROR"}),
        span(new_trace(), attributes={"not": "a list"}),
        span(new_trace(), status=None),
        span(new_trace(), links=[{"traceId": 1}]),
    ]
    async with control_room(tmp_path) as room:
        await asyncio.gather(*(room.send(request(each)) for each in hostile))
        good = new_trace()
        await room.keep(span(good))
        assert len(await room.get(f"traces/{good}")) == 1
        found = await room.get("traces", service="order", end=1_700_000_000_000_001, lookback="1h")
        assert all(len(json.dumps(trace)) < 400_000 for trace in found)
        assert room.intake.waiting == 0
