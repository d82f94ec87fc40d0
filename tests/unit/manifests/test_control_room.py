"""The control room's page in a cluster: what it asks it may ask, and what it may ask it asks. The page is run."""

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI

from services.control_room.page.app import create_app
from services.control_room.page.settings import PageSettings
from services.control_room.page.web import Web
from tests.integration.control_room.test_page import HEADER, levers
from tests.unit.manifests.building import (
    INFRA,
    OVERLAYS,
    SERVICES,
    Document,
    container,
    named,
    of_kind,
    overlay,
    pod,
    pod_labels,
)
from tests.unit.manifests.reachability import Grant, grants
from tests.unit.manifests.test_service_settings import environment, mount, projected  # noqa: F401 - a fixture

PAGE = "control-room"
Call = tuple[str, str, str]
"""Who is asked, the method, the path."""

CANNED: dict[str, Any] = {
    "/health/ready": {"status": "ready", "dependencies": {}, "breakers": {"payment": "closed"}},
    "/admin/faults": {"faults": []},
    "/admin/resilience": {"items": [], "replica": "a-pod"},
    "/orders": {"items": [], "id": "o-1"},
    "/api/v1/query": {"data": {"result": []}},
    "/api/v1/alerts": {"data": {"alerts": []}},
    "/api/traces": {"data": []},
    "/api/traces/abc1": {"data": []},
    "/model": {"drift": {}, "metrics": {}},
    "/predictions": {"predictions": []},
    "/approvals": [],
    "/audit": [],
}
DEEDS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/deeds/orders", {"orders": 1}),
    ("POST", "/deeds/drills/{name}", {"seconds": 5}),
    ("POST", "/deeds/faults", {"target": "payment", "fault": {"kind": "cpu", "share": 0.1, "seconds": 1}}),
    ("DELETE", "/deeds/faults/{replica}/{fault}", {}),
    ("DELETE", "/deeds/faults", {}),
    ("POST", "/deeds/pipelines/{name}", {"layer": "retry", "enabled": False}),
    ("POST", "/deeds/breakers/{name}", {"to": "open"}),
    ("POST", "/deeds/breakers/{name}", {"to": "reset"}),
    ("POST", "/deeds/approvals/{question}", {"decision": "deny"}),
    ("PUT", "/deeds/kill-switch", {"thrown": True}),
    ("POST", "/deeds/audit", {}),
    ("POST", "/deeds/experiments", {"scenario": "payment-down"}),
    ("DELETE", "/deeds/experiments", {}),
]
_DONE = (200, 201, 202)
_NOT_EVERYWHERE = {"/deeds/audit", "/deeds/experiments", "/deeds/approvals/{question}", "/deeds/kill-switch"}
"""What the page answers with the command that does it, where the part behind is not beside it."""
VALUES = {
    "name": ("payment-down", "payment-slow", "inventory-down", "partition"),
    "replica": ("order-pod", "payment-pod", "inventory-pod"),
    "fault": ("f1",),
    "question": ("q1",),
}


def app_of(built: tuple[Document, ...], host: str) -> str:
    """The pods behind a Service's name; `prometheus` for the one of another namespace."""
    if host.endswith(".monitoring.svc.cluster.local"):
        return host.partition("-")[0]
    return str(named(built, "Service", host)["spec"]["selector"]["app"])


class Cluster(Web):
    """Answers for everybody in the cluster, and notes who was asked what."""

    def __init__(self, built: tuple[Document, ...]) -> None:
        super().__init__("token")
        self._built = built
        self.calls: set[Call] = set()
        self.hosts: set[str] = set()

    async def resolve(self, host: str, _port: int) -> Sequence[str]:
        assert named(self._built, "Service", host)["spec"]["clusterIP"] == "None", "an address for each pod"
        return [f"10.0.0.{len(host)}"]

    async def ask(self, method: str, url: str, **more: Any) -> tuple[int, Any]:
        named_host = more.get("host") or urlsplit(url).netloc
        app = app_of(self._built, named_host.partition(":")[0])
        path = urlsplit(url).path
        self.calls.add((app, method, path))
        self.hosts.add(named_host)
        return 200, {"instance": f"{app}-pod"} if path == "/info" else CANNED.get(path, {})


def paths(pattern: str) -> list[str]:
    """A route with its placeholders filled in, in every way that leads elsewhere."""
    filled = [pattern]
    for word in re.findall(r"\{(\w+)\}", pattern):
        filled = [each.replace("{" + word + "}", value) for each in filled for value in VALUES[word]]
    return filled


async def everything_that_is_asked(settings: PageSettings, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at every part of the page as an operator, and pull every lever."""
    monkeypatch.setattr("services.control_room.page.room.Web", lambda _token: cluster)
    app: FastAPI = create_app(settings, resolve=cluster.resolve)
    assert {(method, pattern.replace("{", "").replace("}", "")) for method, pattern, _ in DEEDS} == {
        each for each in levers(app) if each[1].startswith("/deeds/")
    }
    async with AsyncExitStack() as held:
        await held.enter_async_context(app.router.lifespan_context(app))
        http = await held.enter_async_context(
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8088")
        )
        login = {"token": settings.admin_token.get_secret_value()}
        assert (await http.post("/session", json=login, headers=HEADER)).status_code == 204
        async with asyncio.timeout(20):
            await http.get("/view")
            app.state.room.sampler.hurry("levers")
            await app.state.room.sampler.look()
        for path in ("/facts", "/orders/o-1", "/traces", "/traces/abc1"):
            await http.get(path)
        for method, pattern, body in DEEDS:
            for path in paths(pattern):
                done = await http.request(method, path, json=body or None, headers=HEADER)
                assert done.status_code in _DONE or pattern in _NOT_EVERYWHERE, done.text


def configured(name: str, built: tuple[Document, ...]) -> set[tuple[str, int]]:
    """Pods and ports that the page is told of."""
    given = environment(named(built, "Deployment", PAGE))
    places = [value for key, value in given.items() if key.endswith("_URL") and value.startswith("http")]
    targets = [urlsplit(value) for value in places if "localhost" not in value]
    targets += [urlsplit(f"http://{word.partition('=')[2]}") for word in given["REPLICA_NAMES"].split()]
    assert (len(targets) > 4) is (name == "production")
    return {(app_of(built, str(each.hostname)), int(each.port or 0)) for each in targets}


@pytest.mark.parametrize("name", OVERLAYS)
async def test_the_page_asks_everybody_that_it_is_told_of_and_nobody_else(
    name: str,
    mount: Callable[[Document], None],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    built = overlay(name)
    mount(named(built, "Deployment", PAGE))
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path / 'page.sqlite'}")
    monkeypatch.setenv("DASHBOARDS_DIR", str(INFRA / "grafana" / "dashboards"))
    cluster, settings = Cluster(built), PageSettings.load()
    await everything_that_is_asked(settings, cluster, monkeypatch)
    assert {app for app, _, _ in cluster.calls} == {app for app, _ in configured(name, built)}
    if name == "dev":
        return
    allowed = [each for each in grants(built) if each.caller == PAGE]
    meshed = {each.target for each in grants(built)}
    for app, method, path in cluster.calls:
        if app in meshed:
            mine = [each for each in allowed if each.target == app]
            assert any(grant.covers(method, path) for grant in mine), (app, method, path)
    for grant in allowed:
        for method in grant.methods:
            for pattern in grant.paths:
                narrow = Grant(PAGE, grant.target, (method,), (pattern,))
                made = [(m, p) for app, m, p in cluster.calls if app == grant.target]
                assert any(narrow.covers(m, p) for m, p in made), (grant.target, method, pattern)


def test_no_other_account_is_admitted_to_the_operators_routes() -> None:
    admitted = {
        (each.caller, each.target)
        for each in grants(overlay("production"))
        if any(path.startswith("/admin") for path in each.paths)
    }
    assert admitted == {(PAGE, service) for service in SERVICES}


@pytest.mark.parametrize("name", OVERLAYS)
def test_each_address_behind_a_name_of_replicas_is_a_pod_of_that_service_ready_or_not(name: str) -> None:
    built = overlay(name)
    told = environment(named(built, "Deployment", PAGE))["REPLICA_NAMES"].split()
    assert {word.partition("=")[0] for word in told} == {*SERVICES}
    for word in told:
        service, _, address = word.partition("=")
        host, _, port = address.partition(":")
        spec = named(built, "Service", host)["spec"]
        assert spec["publishNotReadyAddresses"] is True
        # in the mesh, as everywhere, the same pods and the same port: one listener, one protocol
        usual = named(built, "Service", service)["spec"]
        assert (spec["selector"], spec["ports"]) == (usual["selector"], usual["ports"])
        assert spec["ports"][0]["port"] == int(port)


def test_a_call_to_a_single_pod_takes_the_callers_certificate_along() -> None:
    rules = {each["spec"]["host"]: each["spec"] for each in of_kind(overlay("production"), "DestinationRule")}
    for service in SERVICES:
        rule = rules[f"{service}-replicas.holdfast.svc.cluster.local"]
        assert rule["trafficPolicy"] == {"tls": {"mode": "ISTIO_MUTUAL"}}


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_page_cannot_be_reached_from_outside_and_knows_its_health_by_the_pods_address(
    name: str,
    mount: Callable[[Document], None],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = overlay(name)
    (ways,) = (each["spec"] for each in of_kind(built, "Service") if each["metadata"]["name"] == PAGE)
    assert ways.get("type", "ClusterIP") == "ClusterIP"
    for kind in ("Gateway", "VirtualService", "Ingress", "HTTPRoute"):
        assert all(PAGE not in str(each["spec"]) for each in of_kind(built, kind))
    workload = named(built, "Deployment", PAGE)
    mount(workload)
    given = {each["name"]: each for each in container(workload)["env"]}
    assert given["ALLOWED_HOSTS"]["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    for address, host in (("10.1.2.3", "10.1.2.3"), ("fd00::7", "[fd00::7]")):
        monkeypatch.setenv("ALLOWED_HOSTS", address)
        assert host in PageSettings.load().hosts()
    fields, files = PageSettings.model_fields, {*projected(workload)[1].values()}
    variables = {*environment(workload)} - {"SECRETS_DIR"}
    assert variables <= {field.upper() for field in fields}
    assert {field for field, info in fields.items() if info.is_required()} <= files | {
        each.lower() for each in variables
    }
    (port,) = container(workload)["ports"]
    assert ways["ports"][0]["port"] == port["containerPort"] == PageSettings.load().port
    assert pod(workload)["automountServiceAccountToken"] is False
    assert pod_labels(workload)["app"] == PAGE


def test_each_dashboard_is_mounted_where_the_page_draws_them() -> None:
    workload = named(overlay("production"), "Deployment", PAGE)
    (volume,) = (each["projected"] for each in pod(workload)["volumes"] if each["name"] == "dashboards")
    maps = [each["configMap"]["name"] for each in volume["sources"]]
    held = {key for each in maps for key in named(overlay("production"), "ConfigMap", each)["data"]}
    assert held == {path.name for path in (INFRA / "grafana" / "dashboards").glob("*.json")}
