"""The page's doors: who may look, who may pull a lever, and from where."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from ml.remediation.api import create_app as remediation_api
from ml.remediation.api import serving
from services.control_room.page.app import create_app
from services.control_room.page.settings import PageSettings
from tests.unit.ml.remediation.platform import Platform

TOKEN, ALERT_TOKEN = "an-admin-token-of-a-test", "an-alert-token-of-a-test"
HEADER = {"x-control-room": "1"}


class Replica:
    """A payment replica that takes faults and writes down what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, Any]] = []
        self.refusal = 0

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.asked.append((request.method, request.path, request.headers.get("authorization", ""), body))
        if self.refusal:
            errors = [{"field": "seconds", "detail": "too long"}]
            return web.json_response({"title": "Invalid input", "errors": errors}, status=self.refusal)
        return web.json_response({"id": "f1"})


@asynccontextmanager
async def page(directory: Path, **settings: Any) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    app = create_app(
        PageSettings(
            database_url=f"sqlite+aiosqlite:///{directory / 'page.sqlite'}",
            admin_token=TOKEN,
            alert_token=ALERT_TOKEN,
            **settings,
        )
    )
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost:8088") as http,
    ):
        yield app, http


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[Replica]:
    standin = Replica()
    served = web.Application()
    served.router.add_route("*", "/{tail:.*}", standin.answer)
    runner = web.AppRunner(served)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    target = f'[{{"targets": ["127.0.0.1:{port}"], "labels": {{"instance": "payment-1", "service": "payment"}}}}]'
    (tmp_path / "targets.json").write_text(target)
    yield standin
    await runner.cleanup()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def log_in(http: httpx.AsyncClient) -> None:
    answer = await http.post("/session", json={"token": TOKEN}, headers=HEADER)
    assert answer.status_code == 204, answer.text
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def levers(app: FastAPI) -> list[tuple[str, str]]:
    """Every route that changes something, by method and path."""
    found = [
        (method, context.path)
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, APIRoute)
        for method in context.methods & {"POST", "PUT", "PATCH", "DELETE"}
    ]
    return [(method, path.replace("{", "").replace("}", "")) for method, path in found]


async def test_no_route_changes_anything_without_a_session_or_from_elsewhere(tmp_path: Path) -> None:
    async with page(tmp_path) as (app, http):
        changing = levers(app)
        own_rules = {("POST", "/session"), ("DELETE", "/session"), ("POST", "/session/links"), ("POST", "/alerts")}
        deeds = [each for each in changing if each not in own_rules]
        assert len(deeds) >= 9
        for method, path in deeds:
            assert path.startswith("/deeds/")
            assert (await http.request(method, path, json={}, headers=HEADER)).status_code == 401, path
        await log_in(http)
        for method, path in deeds:
            foreign = {**HEADER, "origin": "http://localhost:9999"}
            assert (await http.request(method, path, json={})).status_code == 403, path
            assert (await http.request(method, path, json={}, headers=foreign)).status_code == 403, path
            own = {**HEADER, "origin": "http://localhost:8088"}
            assert (await http.request(method, path, json={}, headers=own)).status_code in (404, 422, 503), path
        await http.delete("/session", headers=HEADER)
        assert (await http.delete("/deeds/faults", headers=HEADER)).status_code == 401


async def test_a_wrong_token_and_a_forged_cookie_open_nothing(tmp_path: Path) -> None:
    async with page(tmp_path) as (_app, http):
        for wrong in ({"token": "wrong"}, {"token": ""}, {"code": "wrong"}, {}, {"token": "é"}):
            assert (await http.post("/session", json=wrong, headers=HEADER)).status_code == 401
        assert (await http.post("/session", json={"token": TOKEN})).status_code == 403
        http.cookies.set("control-room-8088", "forged")
        assert (await http.delete("/deeds/faults", headers=HEADER)).status_code == 401


async def test_a_link_of_the_admin_opens_one_session_once(tmp_path: Path) -> None:
    async with page(tmp_path) as (_app, http):
        assert (await http.post("/session/links")).status_code == 401
        made = await http.post("/session/links", headers={"authorization": f"Bearer {TOKEN}"})
        code = {"code": made.json()["code"]}
        assert (await http.post("/session", json=code, headers=HEADER)).status_code == 204
        http.cookies.clear()
        assert (await http.post("/session", json=code, headers=HEADER)).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8088", "localhost.evil.example", "[::2]:8088", ""])
async def test_a_name_that_is_not_this_hosts_is_refused(tmp_path: Path, host: str) -> None:
    async with page(tmp_path) as (_app, http):
        for path in ("/", "/view", "/facts", "/static/main.js", "/docs"):
            assert (await http.get(path, headers={"host": host})).status_code == 421
        for good in ("localhost:8088", "127.0.0.1", "[::1]:8088", "LOCALHOST"):
            assert (await http.get("/", headers={"host": good})).status_code == 200


async def test_scripts_come_from_here_only_and_nobody_frames_the_page(tmp_path: Path) -> None:
    async with page(tmp_path) as (_app, http):
        first = await http.get("/")
        policy = first.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "<style" not in first.text
        assert "onclick" not in first.text
        again = await http.get("/", headers={"if-none-match": first.headers["etag"]})
        assert again.status_code == 304


async def test_with_nothing_configured_every_part_says_what_is_missing(tmp_path: Path) -> None:
    async with page(tmp_path) as (_app, http):
        async with asyncio.timeout(10):
            view = (await http.get("/view")).json()
        said = {name: part["away"] for name, part in view.items() if isinstance(part, dict) and part["away"]}
        asked = {"replicas", "numbers", "orders", "alerts", "experiments", "audit"}
        assert set(said) == asked | {"predictions", "model"}
        assert "no Prometheus" in said["numbers"]
        assert view["log"] == {"away": "", "value": []}
        assert "levers" not in view
        for path in ("/traces", "/dashboards/overview"):
            answer = await http.get(path)
            assert answer.status_code == 503
            assert answer.json()["detail"]
        assert set((await http.get("/facts")).json()["missing"]) == {"scenarios", "dashboards"}


async def test_a_drill_reaches_the_replicas_with_the_admin_token_and_is_written_down(
    tmp_path: Path, replica: Replica
) -> None:
    async with page(tmp_path, targets_file=tmp_path / "targets.json") as (app, http):
        await log_in(http)
        answer = await http.post("/deeds/drills/payment-down", json={"seconds": 20}, headers=HEADER)
        assert answer.json() == {"done": ["payment-1"], "failed": {}}
        [(method, path, authorization, body)] = replica.asked
        assert (method, path, authorization) == ("POST", "/admin/faults", f"Bearer {TOKEN}")
        assert body["kind"] == "http"
        assert body["seconds"] == 20
        replica.refusal = 422
        answer = await http.post("/deeds/faults", json={"target": "payment", "fault": {"kind": "x"}}, headers=HEADER)
        assert answer.status_code == 502
        assert answer.json()["detail"] == "payment-1: seconds: too long"
        [line] = await app.state.room.log.newest()
        assert line["text"] == "Payment is down: begun for 20 s"


async def test_a_deed_that_cannot_be_written_down_is_done_all_the_same(tmp_path: Path, replica: Replica) -> None:
    async with page(tmp_path, targets_file=tmp_path / "targets.json") as (app, http):
        await log_in(http)
        await app.state.chassis.database.close()
        answer = await http.delete("/deeds/faults/payment-1/f1", headers=HEADER)
        assert answer.json() == {"done": ["payment-1"], "failed": {}}
        assert [(method, path) for method, path, *_ in replica.asked] == [("DELETE", "/admin/faults/f1")]


async def test_a_persons_word_reaches_the_remediator_and_the_browser_never_sees_the_token(tmp_path: Path) -> None:
    platform = Platform(tmp_path, mode="approve")
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    port = free_port()
    api = remediation_api(platform.remediator, platform.approvals, platform.metrics, TOKEN)
    async with serving(api, port), page(tmp_path, remediation_url=f"http://127.0.0.1:{port}") as (app, http):
        assert "remediation" not in (await http.get("/view")).json()
        await log_in(http)
        async with asyncio.timeout(20):
            while not (shown := (await http.get("/view")).json().get("remediation", {})).get("value"):
                await app.state.room.sampler.look()
        (question,) = shown["value"]["approvals"]
        assert question["action"] == "scale payment from 2 to 3 replicas"
        assert TOKEN not in (await http.get("/view")).text
        yes, where = {"decision": "approve"}, f"/deeds/approvals/{question['id']}"
        assert (await http.post(where, json=yes, headers=HEADER)).status_code == 200
        await platform.minutes(1)
        assert platform.replicas.calls == [("scale", "payment", 2, 3)]
        again = await http.post(where, json=yes, headers=HEADER)
        assert (again.status_code, again.json()["detail"]) == (409, "too late: it is approved")
        assert (await http.put("/deeds/kill-switch", json={"thrown": True}, headers=HEADER)).status_code == 200
        assert platform.remediator.stopped
        lines = [line["text"] for line in await app.state.room.log.newest()]
        assert lines == ["kill switch of remediation: thrown", "approved: scale payment from 2 to 3 replicas"]
    platform.end()


async def test_a_predictor_that_does_not_run_is_named_with_the_command_that_starts_it(tmp_path: Path) -> None:
    async with page(tmp_path, predictor_url=f"http://127.0.0.1:{free_port()}") as (_app, http):
        async with asyncio.timeout(10):
            view = (await http.get("/view")).json()
        assert view["predictions"]["away"].startswith("The predictor is not running")
        assert view["predictions"]["away"].endswith("make predictor")


async def test_alerts_come_in_with_their_token_and_the_log_keeps_the_newest(tmp_path: Path) -> None:
    alert = {"status": "firing", "labels": {"alertname": "TargetDown"}, "annotations": {"summary": "payment-1 is gone"}}
    async with page(tmp_path) as (app, http):
        assert (await http.post("/alerts", json={"alerts": [alert]})).status_code == 401
        headers = {"authorization": f"Bearer {ALERT_TOKEN}"}
        for wrong in ([], {"alerts": "x"}, {"alerts": [1, {"labels": None}]}):
            assert (await http.post("/alerts", json=wrong, headers=headers)).status_code == 204
        for _ in range(14):
            await http.post("/alerts", json={"alerts": [alert] * 50}, headers=headers)
        lines = await app.state.room.log.newest()
        assert lines[0]["text"] == "firing TargetDown payment-1 is gone"
        async with app.state.chassis.database.read() as connection:
            assert (await connection.exec_driver_sql("SELECT count(*) FROM log")).scalar_one() == 500
