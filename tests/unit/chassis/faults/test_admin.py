"""`/admin/faults` and what faults do to requests, through a whole application."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from shared.chassis.auth import TokenSigner
from shared.chassis.faults import MOST_FAULTS, ClockFault
from tests.unit.chassis.shop import ADMIN_TOKEN, EDGE_KEY, Shop

TOKEN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
SLOW = {"kind": "http", "latency_ms": 1, "seconds": 60}


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    made = Shop(tmp_path, fault_injection="on", instance="shop-1")
    transport = httpx.ASGITransport(made.app)
    async with (
        made.app.router.lifespan_context(made.app),
        httpx.AsyncClient(transport=transport, base_url="http://shop", headers=TOKEN) as client,
    ):
        yield client


async def inject(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await http.post("/admin/faults", json=body)
    assert answer.status_code == 201, answer.text
    fault: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/admin/faults/{fault['id']}"
    return fault


async def test_without_the_setting_there_is_no_such_route(shop: Shop) -> None:
    transport = httpx.ASGITransport(shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop", headers=TOKEN) as client:
        for method in ("GET", "POST", "DELETE"):
            assert (await client.request(method, "/admin/faults")).status_code == 404
        assert 'faults_active{kind="http"} 0.0' in (await client.get("/metrics")).text


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", ""), ("DELETE", ""), ("DELETE", "/http-1")])
async def test_without_the_admin_token_nobody_gets_in(http: httpx.AsyncClient, method: str, path: str) -> None:
    for token in ("", "Bearer wrong"):
        answer = await http.request(method, f"/admin/faults{path}", headers={"Authorization": token}, json=SLOW)
        assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthorised")
    assert (await http.get("/admin/faults")).json()["faults"] == []


async def test_a_fault_is_begun_shown_and_ended(http: httpx.AsyncClient) -> None:
    made = await inject(http, kind="http", path="/items", status=503, rate=1, seconds=60, experiment="exp-1")
    assert 59 < made.pop("seconds_left") <= 60
    asked = {"path": "/items", "status": 503, "rate": 1, "seconds": 60, "experiment": "exp-1"}
    rest = {"latency_ms": 0, "jitter_ms": 0, "abort": False}
    assert made == {"id": made["id"], "kind": "http", "struck": 0, **asked, **rest}
    struck = await http.get("/items/1")
    assert (struck.status_code, struck.json()["type"]) == (503, "/problems/fault-injected")
    listed = (await http.get("/admin/faults")).json()
    assert listed["instance"] == "shop-1"
    assert [(fault["id"], fault["struck"]) for fault in listed["faults"]] == [(made["id"], 1)]
    assert 'faults_struck_total{kind="http"} 1.0' in (await http.get("/metrics")).text
    assert (await http.delete(f"/admin/faults/{made['id']}")).json() == {"cleared": 1}
    assert (await http.delete(f"/admin/faults/{made['id']}")).json() == {"cleared": 0}
    assert (await http.get("/items/1")).status_code == 200


async def test_all_faults_can_be_ended_at_once(http: httpx.AsyncClient) -> None:
    await inject(http, **SLOW)
    await inject(http, kind="clock", offset_seconds=-30, seconds=60)
    assert (await http.delete("/admin/faults")).json() == {"cleared": 2}
    assert (await http.get("/admin/faults")).json()["faults"] == []


async def test_too_many_faults_are_a_conflict(http: httpx.AsyncClient) -> None:
    for _ in range(MOST_FAULTS):
        await inject(http, **SLOW)
    answer = await http.post("/admin/faults", json=SLOW)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/fault-refused")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "fire", "seconds": 1}, "kind"),
        ({"kind": ["http"], "seconds": 1}, "kind"),
        ({"kind": "http", "status": 500}, "seconds"),
        ({"kind": "http", "status": 500, "seconds": 0.05}, "seconds"),
        ({"kind": "http", "status": 500, "seconds": 601}, "seconds"),
        ({"kind": "http", "status": 500, "seconds": "10"}, "seconds"),
        ({"kind": "http", "status": 200, "seconds": 1}, "status"),
        ({"kind": "http", "seconds": 1}, "body"),
        ({"kind": "http", "status": 500, "abort": True, "seconds": 1}, "body"),
        ({"kind": "http", "status": 500, "path": "/admin/x", "seconds": 1}, "path"),
        ({"kind": "http", "status": 500, "seconds": 1, "x": 1}, "x"),
        ({"kind": "http", "status": 500, "seconds": 1, "rate": 0}, "rate"),
        ({"kind": "http", "status": 500, "seconds": 1, "experiment": "a" * 65}, "experiment"),
        ({"kind": "network", "to": "payment", "error": "dns", "seconds": 1}, "to"),
        ({"kind": "network", "error": "dns", "on_ms": 5, "seconds": 1}, "body"),
        ({"kind": "database", "error": "gone", "seconds": 1}, "error"),
        ({"kind": "database", "seconds": 1}, "body"),
        ({"kind": "pool", "connections": 0, "seconds": 1}, "connections"),
        ({"kind": "cpu", "share": 1.5, "seconds": 1}, "share"),
        ({"kind": "memory", "mb_per_second": 1, "max_mb": 5_000, "seconds": 1}, "max_mb"),
        ({"kind": "loop", "block_ms": 50, "every_ms": 50, "seconds": 1}, "body"),
        ({"kind": "clock", "offset_seconds": 1e9, "seconds": 1}, "offset_seconds"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_field(http: httpx.AsyncClient, body: Any, field: str) -> None:
    answer = await http.post("/admin/faults", json=body)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-input")
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_a_statement_that_fails_is_answered_as_an_outage_and_health_is_spared(tmp_path: Path) -> None:
    made = Shop(tmp_path, fault_injection="on")

    async def ask() -> dict[str, str]:
        await made.chassis.database.query(lambda connection: connection.exec_driver_sql("SELECT 1").all())
        return {}

    made.behave = ask
    transport = httpx.ASGITransport(made.app)
    async with (
        made.app.router.lifespan_context(made.app),
        httpx.AsyncClient(transport=transport, base_url="http://shop", headers=TOKEN) as client,
    ):
        await inject(client, kind="database", error="full", seconds=60)
        answer = await client.get("/anything")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/database-unavailable")
        assert (await client.get("/health/ready")).status_code == 200
        await client.delete("/admin/faults")
        assert (await client.get("/anything")).status_code == 200


async def test_tokens_are_judged_by_the_shifted_clock(tmp_path: Path) -> None:
    made = Shop(tmp_path, fault_injection="on")
    token = TokenSigner("order", "shop", SecretStr(EDGE_KEY)).token()
    transport = httpx.ASGITransport(made.app)
    async with (
        made.app.router.lifespan_context(made.app),
        httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
    ):
        made.chassis.faults.inject(ClockFault(offset_seconds=600, seconds=60))
        headers = {"Authorization": f"Bearer {token}"}
        assert (await client.get("/for-order", headers=headers)).status_code == 401
        made.chassis.faults.clear()
        assert (await client.get("/for-order", headers=headers)).status_code == 200
