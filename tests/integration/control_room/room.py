"""A control room in this process, and spans to send it."""

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from services.control_room.app import create_app
from services.control_room.intake import Intake
from services.control_room.settings import ControlRoomSettings
from services.control_room.store import Retention, TraceStore
from shared.chassis.database import Database
from tests.fixtures.waiting import until

TOKEN = "order-token-of-a-test"
NOW_US = 1_700_000_000_000_000


class Time:
    """Both clocks of a control room, set by hand."""

    def __init__(self) -> None:
        self.seconds = NOW_US / 1e6

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


class Room:
    def __init__(self, app: FastAPI, http: httpx.AsyncClient, time: Time) -> None:
        self.app, self.http, self.time = app, http, time
        self.intake: Intake = app.state.intake
        self.database: Database = app.state.chassis.database
        self.store = TraceStore(self.database, time, Retention(hours=1, spans=1_000_000, bytes=1_000_000_000))

    async def send(self, body: bytes, **headers: str) -> httpx.Response:
        sent = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post("/v1/traces", content=body, headers=sent)

    async def keep(self, *spans: dict[str, Any], service: str = "order") -> None:
        """Send spans and let the decision about them come."""
        response = await self.send(request(*spans, service=service))
        assert response.status_code == 200, response.text
        self.time.seconds += 3
        await self.intake.work()

    async def get(self, path: str, **parameters: Any) -> Any:
        response = await self.http.get(f"/api/{path}", params=parameters)
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["errors"] is None
        assert set(answer) == {"data", "total", "limit", "offset", "errors"}
        return answer["data"]

    async def emptied(self) -> None:
        """Wait until the writer has nothing left to do."""
        await asyncio.to_thread(until, lambda: not self.intake.waiting)

    async def metric(self, name: str, **labels: str) -> float:
        return self.app.state.chassis.metrics.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def control_room(directory: Path, **settings: Any) -> AsyncIterator[Room]:
    time = Time()
    wanted = {"trace_share": 1.0, **settings}
    app = create_app(
        ControlRoomSettings(
            database_url=f"sqlite+aiosqlite:///{directory / 'control_room.sqlite'}",
            admin_token="an-admin-token-of-a-test",
            order_otlp_token=TOKEN,
            payment_otlp_token="payment-token-of-a-test",
            inventory_otlp_token="inventory-token-of-a-test",
            **wanted,
        ),
        clock=time,
        monotonic=time.monotonic,
    )
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://control-room") as http,
    ):
        yield Room(app, http, time)


def new_trace(tail: str = "") -> str:
    """A trace id; `tail` are its last digits, which decide about sampling."""
    made = os.urandom(16).hex()
    return made[: 32 - len(tail)] + tail


def span(
    trace_id: str, span_id: str = "00000000000000a1", parent: str = "", *, ms: float = 5.0, **more: Any
) -> dict[str, Any]:
    start = NOW_US * 1000
    return {
        "traceId": trace_id,
        "spanId": span_id,
        "parentSpanId": parent,
        "name": "POST /orders",
        "kind": 2,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + int(ms * 1e6)),
        **more,
    }


def request(*spans: dict[str, Any], service: str = "order") -> bytes:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    scoped = [{"scope": {"name": "test"}, "spans": list(spans)}]
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": scoped}]}).encode()


def protobuf(trace_id: str, *, service: str = "order") -> bytes:
    """The same as a span of `span()` with one of everything, as protobuf."""
    made = ExportTraceServiceRequest()
    group = made.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    scoped = group.scope_spans.add()
    scoped.scope.name = "test"
    one = scoped.spans.add(
        trace_id=bytes.fromhex(trace_id),
        span_id=bytes.fromhex("00000000000000a1"),
        parent_span_id=bytes.fromhex("00000000000000b2"),
        name="POST /orders",
        kind=2,
        start_time_unix_nano=NOW_US * 1000,
        end_time_unix_nano=NOW_US * 1000 + 5_000_000,
    )
    for name, kind, value in (
        ("text", "string_value", "words"),
        ("number", "int_value", 7),
        ("share", "double_value", 0.5),
        ("yes", "bool_value", True),
    ):
        setattr(one.attributes.add(key=name).value, kind, value)
    one.attributes.add(key="list").value.array_value.values.add().string_value = "first"
    event = one.events.add(name="Inventory reserved", time_unix_nano=NOW_US * 1000 + 1_000_000)
    event.attributes.add(key="n").value.int_value = 1
    one.links.add(trace_id=bytes.fromhex(trace_id), span_id=bytes.fromhex("00000000000000c3"))
    one.status.code, one.status.message = 2, "it failed"
    return made.SerializeToString()


def as_json(trace_id: str) -> bytes:
    """What `protobuf()` says, as JSON."""
    full = span(
        trace_id,
        parent="00000000000000b2",
        attributes=[
            {"key": "text", "value": {"stringValue": "words"}},
            {"key": "number", "value": {"intValue": "7"}},
            {"key": "share", "value": {"doubleValue": 0.5}},
            {"key": "yes", "value": {"boolValue": True}},
            {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "first"}]}}},
        ],
        events=[
            {
                "name": "Inventory reserved",
                "timeUnixNano": str(NOW_US * 1000 + 1_000_000),
                "attributes": [{"key": "n", "value": {"intValue": "1"}}],
            }
        ],
        links=[{"traceId": trace_id, "spanId": "00000000000000c3"}],
        status={"code": 2, "message": "it failed"},
    )
    return request(full)


def gzipped(body: bytes) -> bytes:
    return gzip.compress(body)
