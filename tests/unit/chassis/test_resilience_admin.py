"""The operators' routes for the resilience library, through a whole application."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from shared.chassis.app import Chassis, build_app
from shared.chassis.resilience_admin import resilience_admin
from shared.resilience import CallNotPermitted, Registry, State
from shared.resilience.config import parse
from tests.unit.chassis.shop import ADMIN_TOKEN, ENVIRONMENT, REVISION, ShopSettings

CONFIG = """
budgets:
  payment: {floor: 3}
instances:
  payment.process:
    idempotent: true
    budget: payment
    breaker: payment
    deadline: 5s
    retry: {max_attempts: 2, wait_duration: 1ms, jitter: none}
    circuit_breaker: {sliding_window_size: 10, minimum_number_of_calls: 4}
    bulkhead: {max_concurrent_calls: 7}
    timeout: {duration: 1s}
  stock.read: {hedge: {delay: 1s}, rate_limiter: {limit_for_period: 5}, cache: {}}
"""
TOKEN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
BASE = "/admin/resilience"


class DownError(Exception):
    """The dependency failed, and its text is a secret."""


@pytest.fixture
def registry() -> Registry:
    return Registry(parse(CONFIG, Path("resilience.yaml")))


@pytest.fixture
async def app(tmp_path: Path, registry: Registry) -> AsyncIterator[FastAPI]:
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions.parent / "env.py").write_text(ENVIRONMENT)
    (versions / "0001_first.py").write_text(REVISION)
    settings = ShopSettings(database_url=f"sqlite+aiosqlite:///{tmp_path}/shop.sqlite", admin_token=ADMIN_TOKEN)
    chassis = Chassis(settings, version="1", migrations=versions.parent, title="Shop")

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        yield

    app = build_app(chassis, routers=[resilience_admin(registry, "shop-1")], resources=resources)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop", headers=TOKEN) as client:
        yield client


async def fail(registry: Registry, times: int = 1) -> None:
    async def down() -> None:
        raise DownError("hunter2")

    for _ in range(times):
        with pytest.raises(DownError):
            await registry.pipeline("payment.process").call(down, idempotent=False)


async def read(http: httpx.AsyncClient, path: str) -> Any:
    response = await http.get(BASE + path)
    assert response.status_code == 200, response.text
    return response.json()


async def refused(response: httpx.Response, status: int, slug: str) -> list[str]:
    """The fields that the problem names."""
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (response.status_code, problem["type"]) == (status, f"/problems/{slug}")
    return [error["field"] for error in problem.get("errors", [])]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/payment.process"),
        ("PATCH", "/payment.process"),
        ("GET", "/breakers/payment"),
        ("POST", "/breakers/payment"),
        ("POST", "/breakers/payment/reset"),
        ("GET", "/payment.process/faults"),
        ("POST", "/payment.process/faults"),
        ("DELETE", "/payment.process/faults"),
        ("DELETE", "/payment.process/faults/fault-1"),
    ],
)
async def test_without_the_admin_token_nothing_is_told_or_done(
    http: httpx.AsyncClient, registry: Registry, method: str, path: str
) -> None:
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": ""}):
        response = await http.request(method, BASE + path, headers=headers, json={})
        assert await refused(response, 401, "unauthorised") == []
    assert registry.breakers["payment"].state is State.CLOSED


async def test_the_list_shows_every_pipeline_of_the_replica(http: httpx.AsyncClient, registry: Registry) -> None:
    await fail(registry, 2)
    body = await read(http, "")
    assert (body["replica"], body["file"], body["reloads"]) == (
        "shop-1",
        "resilience.yaml",
        {"applied": 0, "refused": 0},
    )
    payment, stock = body["items"]
    assert payment["layers"] == {
        "deadline": True,
        "fallback": True,
        "retry": True,
        "circuit_breaker": True,
        "bulkhead": True,
        "timeout": True,
        "faults": True,
    }
    assert (payment["breaker"]["name"], payment["breaker"]["state"]) == ("payment", "closed")
    assert payment["breaker"]["metrics"]["failed_calls"] == 2
    assert payment["breaker"]["metrics"]["failed"]["calls"] == 2
    assert payment["metrics"]["retry"]["failed_without_retry"] == 2
    assert payment["metrics"]["bulkhead"] == {"max_concurrent_calls": 7, "available": 7, "waiting": 0, "refused": 0}
    assert payment["metrics"]["timeout"] == {"successful": 0, "failed": 2, "timeout": 0}
    assert (payment["budget"]["name"], payment["budget"]["limit"]) == ("payment", 3)
    assert (stock["name"], stock["breaker"], stock["faults"]) == ("stock.read", None, [])
    assert stock["metrics"]["rate_limiter"]["available"] == 5
    assert stock["metrics"].keys() >= {"cache", "hedge", "fallback"}


async def test_events_tell_what_happened_but_not_the_errors_text(http: httpx.AsyncClient, registry: Registry) -> None:
    await fail(registry, 4)
    response = await http.get(f"{BASE}/payment.process")
    assert "hunter2" not in response.text
    body = response.json()
    assert [event["kind"] for event in body["events"][:2]] == ["CallFailed", "RetryRefused"]
    assert body["events"][0]["details"]["error"] == "DownError"
    assert body["events"][1]["details"]["reason"] == "not_idempotent"
    assert all(0 <= event["seconds_ago"] < 10 for event in body["events"])
    [opened] = body["breaker"]["transitions"]
    assert (opened["before"], opened["after"]) == ("closed", "open")


async def test_the_number_of_events_can_be_chosen(http: httpx.AsyncClient, registry: Registry) -> None:
    await fail(registry, 3)
    body = await read(http, "/payment.process?events=1")
    assert [event["kind"] for event in body["events"]] == ["RetryRefused"]
    assert (await read(http, "/payment.process?events=0"))["events"] == []
    assert await refused(await http.get(f"{BASE}?events=-1"), 422, "invalid-input") == ["events"]


async def test_layers_are_switched_at_run_time(http: httpx.AsyncClient, registry: Registry) -> None:
    response = await http.patch(f"{BASE}/payment.process", json={"layers": {"retry": False, "circuit_breaker": False}})
    assert response.status_code == 200
    assert response.json()["layers"]["retry"] is False
    await fail(registry, 10)
    assert registry.breakers["payment"].snapshot().failed.calls == 0
    await http.patch(f"{BASE}/payment.process", json={"layers": {"circuit_breaker": True}})
    await fail(registry, 4)
    assert registry.breakers["payment"].state is State.OPEN


async def test_a_layer_that_is_not_there_is_named_and_nothing_is_switched(
    http: httpx.AsyncClient, registry: Registry
) -> None:
    response = await http.patch(f"{BASE}/payment.process", json={"layers": {"retry": False, "hedge": False}})
    assert await refused(response, 422, "unknown-layer") == ["layers.hedge"]
    assert registry.pipeline("payment.process").layers["retry"] is True


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"layers": {"retry": "off"}}, "layers.retry"),
        ({"layers": {"retry": 0}}, "layers.retry"),
        ({"layers": {}}, "layers"),
        ({}, "layers"),
        ({"layers": {"retry": True}, "hedge": True}, "hedge"),
    ],
)
async def test_a_switch_that_makes_no_sense_names_its_field(http: httpx.AsyncClient, body: Any, field: str) -> None:
    assert await refused(await http.patch(f"{BASE}/payment.process", json=body), 422, "invalid-input") == [field]


@pytest.mark.parametrize(
    ("method", "path", "body", "slug"),
    [
        ("GET", "/nobody", None, "no-such-instance"),
        ("PATCH", "/nobody", {"layers": {"retry": True}}, "no-such-instance"),
        ("GET", "/nobody/faults", None, "no-such-instance"),
        ("POST", "/nobody/faults", {"latency": "1s", "seconds": 1}, "no-such-instance"),
        ("DELETE", "/nobody/faults", None, "no-such-instance"),
        ("DELETE", "/payment.process/faults/fault-9", None, "no-such-fault"),
        ("GET", "/breakers/nobody", None, "no-such-breaker"),
        ("POST", "/breakers/nobody", {"to": "open"}, "no-such-breaker"),
        ("POST", "/breakers/nobody/reset", None, "no-such-breaker"),
    ],
)
async def test_what_does_not_exist_is_not_found(
    http: httpx.AsyncClient, method: str, path: str, body: Any, slug: str
) -> None:
    assert await refused(await http.request(method, BASE + path, json=body), 404, slug) == []


async def test_a_breaker_is_opened_for_a_while_by_hand(http: httpx.AsyncClient, registry: Registry) -> None:
    response = await http.post(f"{BASE}/breakers/payment", json={"to": "open", "wait": "90s"})
    body = response.json()
    assert (response.status_code, body["state"]) == (200, "open")
    assert 85 < body["retry_after"] <= 90
    with pytest.raises(CallNotPermitted):
        await registry.pipeline("payment.process").call(asyncio.sleep, 0)


@pytest.mark.parametrize("state", ["closed", "half_open", "forced_open", "disabled", "metrics_only"])
async def test_a_breaker_is_brought_to_every_state(http: httpx.AsyncClient, registry: Registry, state: str) -> None:
    registry.breakers["payment"].transition_to_open()
    response = await http.post(f"{BASE}/breakers/payment", json={"to": state})
    assert (response.status_code, response.json()["state"]) == (200, state)
    assert response.json()["transitions"][-1]["after"] == state
    assert (await read(http, "/breakers/payment"))["state"] == state


async def test_a_breaker_is_reset_with_its_window(http: httpx.AsyncClient, registry: Registry) -> None:
    await fail(registry, 4)
    body = (await http.post(f"{BASE}/breakers/payment/reset")).json()
    assert (body["state"], body["metrics"]["buffered_calls"], body["retry_after"]) == ("closed", 0, 0)


async def test_a_closed_breaker_cannot_become_half_open(http: httpx.AsyncClient) -> None:
    response = await http.post(f"{BASE}/breakers/payment", json={"to": "half_open"})
    assert await refused(response, 409, "illegal-transition") == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"to": "ajar"}, "to"),
        ({}, "to"),
        ({"to": "open", "wait": "soon"}, "wait"),
        ({"to": "open", "wait": "0s"}, "wait"),
        ({"to": "open", "wait": "2h"}, "wait"),
        ({"to": "open", "wait": 5}, "wait"),
        ({"to": "closed", "wait": "5s"}, "wait"),
        ({"to": "open", "for": "5s"}, "for"),
    ],
)
async def test_a_transition_that_makes_no_sense_names_its_field(
    http: httpx.AsyncClient, registry: Registry, body: Any, field: str
) -> None:
    assert await refused(await http.post(f"{BASE}/breakers/payment", json=body), 422, "invalid-input") == [field]
    assert registry.breakers["payment"].state is State.CLOSED


async def test_a_fault_is_injected_seen_and_cleared(http: httpx.AsyncClient, registry: Registry) -> None:
    path = f"{BASE}/payment.process/faults"
    response = await http.post(path, json={"error": "httpx.ConnectError", "seconds": 60})
    fault = response.json()
    assert (response.status_code, fault["what"], fault["rate"], fault["struck"]) == (201, "error ConnectError", 1, 0)
    assert response.headers["location"] == f"{path}/{fault['id']}"
    with pytest.raises(httpx.ConnectError):
        await registry.pipeline("payment.process").call(asyncio.sleep, 0, idempotent=False)
    [seen] = await read(http, "/payment.process/faults")
    assert (seen["id"], seen["struck"]) == (fault["id"], 1)
    assert 50 < seen["remaining_seconds"] <= 60

    assert (await http.delete(response.headers["location"])).json() == {"cleared": 1}
    await registry.pipeline("payment.process").call(asyncio.sleep, 0)
    await http.post(path, json={"latency": "5ms", "jitter": "5ms", "rate": 0.5, "seconds": 60})
    await http.post(path, json={"result": None, "seconds": 60})
    assert (await http.delete(path)).json() == {"cleared": 2}
    assert await read(http, "/payment.process/faults") == []


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"latency": "1s"}, ["seconds"]),
        ({"latency": "1s", "seconds": 0}, ["seconds"]),
        ({"latency": "1s", "seconds": 601}, ["seconds"]),
        ({"latency": "1s", "seconds": 1e-9}, ["seconds"]),  # over before anything could suffer it
        ({"latency": "soon", "seconds": 1}, ["latency"]),
        ({"seconds": 1}, ["body"]),
        ({"error": "httpx.Nothing", "seconds": 1}, ["error"]),
        ({"error": "nowhere.Error", "seconds": 1}, ["error"]),
        ({"error": "httpx.Client", "seconds": 1}, ["error"]),
        ({"error": "Error", "seconds": 1}, ["error"]),
        ({"error": "builtins.OSError", "result": 1, "seconds": 1}, ["body"]),
        ({"latency": "1s", "rate": 2, "seconds": 1}, ["rate"]),
        ({"latency": "1s", "behaviour": "os.abort", "seconds": 1}, ["behaviour"]),
    ],
)
async def test_a_fault_that_makes_no_sense_names_its_field(
    http: httpx.AsyncClient, registry: Registry, body: Any, fields: list[str]
) -> None:
    assert await refused(await http.post(f"{BASE}/payment.process/faults", json=body), 422, "invalid-input") == fields
    assert registry.pipeline("payment.process").faults.snapshot() == []


async def test_a_request_imports_nothing(http: httpx.AsyncClient) -> None:
    assert "antigravity" not in sys.modules
    response = await http.post(f"{BASE}/payment.process/faults", json={"error": "antigravity.fly", "seconds": 1})
    assert await refused(response, 422, "invalid-input") == ["error"]
    assert "antigravity" not in sys.modules


async def test_faults_that_are_switched_off_are_refused(http: httpx.AsyncClient) -> None:
    await http.patch(f"{BASE}/payment.process", json={"layers": {"faults": False}})
    response = await http.post(f"{BASE}/payment.process/faults", json={"latency": "1s", "seconds": 1})
    assert await refused(response, 409, "fault-refused") == []


async def test_every_route_is_described(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    ours = {path: set(methods) for path, methods in paths.items() if path.startswith(BASE)}
    assert ours == {
        BASE: {"get"},
        f"{BASE}/{{instance}}": {"get", "patch"},
        f"{BASE}/breakers/{{name}}": {"get", "post"},
        f"{BASE}/breakers/{{name}}/reset": {"post"},
        f"{BASE}/budgets/{{name}}": {"get", "patch"},
        f"{BASE}/budgets/{{name}}/refill": {"post"},
        f"{BASE}/{{instance}}/faults": {"get", "post", "delete"},
        f"{BASE}/{{instance}}/faults/{{fault}}": {"delete"},
    }
    for path in ours:
        for operation in paths[path].values():
            assert operation["description"]
            assert "application/problem+json" in operation["responses"]["401"]["content"]


async def test_a_budget_is_switched_off_and_on_again(http: httpx.AsyncClient, registry: Registry) -> None:
    before = await read(http, "/budgets/payment")
    assert (before["name"], before["enforced"], before["tokens"]) == ("payment", True, 100)
    changed = await http.patch(f"{BASE}/budgets/payment", json={"enforced": False})
    assert (changed.status_code, changed.json()["enforced"]) == (200, False)
    assert all(registry.budgets["payment"].try_acquire() for _ in range(10))
    assert (await http.patch(f"{BASE}/budgets/payment", json={"enforced": True})).json()["granted"] == 10
    assert not registry.budgets["payment"].try_acquire()
    registry.budgets["payment"].on_failure()
    assert (await http.post(f"{BASE}/budgets/payment/refill")).json()["tokens"] == 100
    assert await refused(await http.patch(f"{BASE}/budgets/payment", json={"enforced": 1}), 422, "invalid-input")
    await refused(await http.get(f"{BASE}/budgets/nobody"), 404, "no-such-budget")
