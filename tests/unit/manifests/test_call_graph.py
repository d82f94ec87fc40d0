"""The calls that policies allow are those that the code makes: its own clients are run, and every edge is compared."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from infra.local import nats
from services.inventory.settings import InventorySettings
from services.order.call_metrics import CallMetrics
from services.order.downstream import ServiceClient
from services.order.inventory_client import InventoryServiceClient
from services.order.payment_client import PaymentServiceClient
from services.order.settings import OrderSettings
from services.payment.settings import PaymentSettings
from shared.chassis.auth import TokenSigner
from shared.resilience import Registry
from tests.unit.manifests.building import OVERLAYS, ROOT, SERVICES, of_kind, overlay, services
from tests.unit.manifests.reachability import (
    CHAOS_MESH,
    ISTIOD,
    NAMES,
    NEIGHBOUR,
    PROMETHEUS,
    WORLD,
    Edge,
    Grant,
    accounts,
    grants,
    parties,
    reachable,
)
from tests.unit.manifests.test_control_room import configured
from tests.unit.manifests.test_service_settings import mount  # noqa: F401 - a fixture

SETTINGS = {"order": OrderSettings, "payment": PaymentSettings, "inventory": InventorySettings}
WITHOUT_PROXY = {"prometheus", "chaos-mesh", "predictor"}
KEY = SecretStr("k" * 32)

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "process_payment": (SimpleNamespace(id="o-1", total_amount=1, currency="EUR", customer="c", sealed_card="x"),),
    "payment_status": ("o-1",),
    "refund": ("o-1", "because"),
    "quote": ([{"sku": "a", "quantity": 1}], "EUR"),
    "reserve": ("o-1", [{"sku": "a", "quantity": 1}], 60),
    "commit": ("o-1",),
    "release": ("o-1",),
}


class Wire(httpx.AsyncBaseTransport):
    """Notes what is asked, and answers anything with what every client is content with."""

    def __init__(self) -> None:
        self.calls: set[tuple[str, str, str]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"].startswith("Bearer ")
        self.calls.add((request.url.host, request.method, request.url.path))
        line = {"sku": "a", "quantity": 1, "available": 1, "unit_price": 1, "sufficient": True}
        return httpx.Response(200, json={"transaction_id": "t", "status": "CAPTURED", "items": [line]})


async def calls_of_order() -> set[tuple[str, str, str]]:
    """Service, method and path of everything that the order service's clients can ask."""
    wire, metrics = Wire(), CollectorRegistry()
    timings = CallMetrics(metrics)
    registry = Registry.from_file(ROOT / "services" / "order" / "resilience.yaml")

    def client(service: str) -> ServiceClient:
        return ServiceClient(
            service, f"http://{service}:8080", TokenSigner("order", service, KEY), wire, timings.edge(service)
        )

    clients = (
        PaymentServiceClient(client("payment"), registry, metrics),
        InventoryServiceClient(client("inventory"), registry),
    )
    for each in clients:
        for name, method in inspect.getmembers(each, inspect.iscoroutinefunction):
            if not name.startswith("_"):
                await method(*ARGUMENTS[name])
    return wire.calls


def grants_of(caller: str, target: str) -> list[Grant]:
    return [each for each in grants(overlay("production")) if (each.caller, each.target) == (caller, target)]


def modules(service: str) -> Iterator[ast.AST]:
    """The syntax trees of a service's modules."""
    for path in (ROOT / "services" / service).rglob("*.py"):
        yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def imports(service: str, *names: str) -> bool:
    """Whether a module of the service imports one of these, whole or by name."""
    for node in modules(service):
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] in names for alias in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and (
            str(node.module).split(".")[0] in names or any(alias.name in names for alias in node.names)
        ):
            return True
    return False


def http_edges() -> set[tuple[str, str]]:
    """Caller and called, by the keys that both ends hold: a call without one is refused."""
    issued = {
        (found[1], found[2])
        for settings in SETTINGS.values()
        for field in settings.model_fields
        if (found := re.fullmatch(r"([a-z]+)_to_([a-z]+)_key", field))
    }
    for caller, called in issued:
        key = f"{caller}_to_{called}_key"
        assert key in SETTINGS[caller].model_fields
        assert key in SETTINGS[called].model_fields
        assert f"{called}_url" in SETTINGS[caller].model_fields
    return issued


def expected_edges(name: str) -> set[Edge]:
    """What must be reachable, from the code and from what the overlay holds."""
    edges: set[Edge] = {(caller, called, 8080) for caller, called in http_edges()}
    edges |= {(service, "nats", 4222) for service in SERVICES if imports(service, "Broker")} | {("nats", "nats", 6222)}
    edges |= {("prometheus", each, 8080) for each in (*SERVICES, "slo-gate")} | {("chaos-mesh", "slo-gate", 8080)}
    edges |= {("control-room", called, port) for called, port in told_to_the_page(name)}
    if name == "dev":
        edges |= {(caller, "postgres", 5432) for service in SERVICES for caller in (service, f"migrate-{service}")}
        return edges
    meshed = [*SERVICES, "edge"]
    operators = ["control-room", "remediation"]
    edges |= {("edge", service, 8080) for service in ("order", "inventory")}
    edges |= {("world", "edge", 8080), ("world", "edge", 8443)}
    edges |= {(service, "otel-collector", 4318) for service in SERVICES}
    edges |= {(proxy, "otel-collector", 4317) for proxy in meshed}
    edges |= {("otel-collector", "jaeger", 4317)}
    edges |= {("prometheus", "predictor", 8095), ("remediation", "predictor", 8095)}
    edges |= {("prometheus", each, 8888) for each in ("otel-collector", "jaeger")}
    edges |= {("prometheus", each, 15020) for each in (*meshed, *operators, "nats", "otel-collector", "jaeger")}
    return edges


def told_to_the_page(name: str) -> set[tuple[str, int]]:
    """Whom the control room's page is told of: that it asks them, and what, is in test_control_room.py."""
    return {each for each in configured(name, overlay(name)) if each[0] != "prometheus"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_can_reach_whom_the_code_calls_and_nobody_else(name: str) -> None:
    built = overlay(name)
    ours = parties(built, meshed=name == "production")
    open_to_all = {
        (each.name, "edge", port) for each in (*ours, PROMETHEUS, CHAOS_MESH, NEIGHBOUR) for port in (8080, 8443)
    }
    found = reachable(built, [*ours, PROMETHEUS, CHAOS_MESH, WORLD, NEIGHBOUR], ours)
    # the edge's ports are open to whoever can get out; nobody else here can, but for those outside
    found -= open_to_all & {
        (who, "edge", port) for who in ("prometheus", "chaos-mesh", "neighbour") for port in (8080, 8443)
    }
    assert found == expected_edges(name)


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_find_names_and_only_proxies_the_meshs_control_plane(name: str) -> None:
    built = overlay(name)
    ours = parties(built, meshed=False)
    assert {sender for sender, _, _ in reachable(built, ours, [NAMES])} == {each.name for each in ours}
    with_proxy = {sender for sender, _, _ in reachable(built, ours, [ISTIOD])}
    proxied = {each.name for each in ours if "migrate" not in each.name} - {"slo-gate", "predictor"}
    assert with_proxy == (proxied if name == "production" else set())


async def test_every_call_of_the_order_services_clients_is_allowed_and_every_allowed_call_is_made() -> None:
    calls = await calls_of_order()
    assert {service for service, _, _ in calls} == {called for caller, called in http_edges() if caller == "order"}
    for service, method, path in calls:
        assert any(grant.covers(method, path) for grant in grants_of("order", service)), (service, method, path)
    for service in ("payment", "inventory"):
        for grant in grants_of("order", service):
            for method in grant.methods:
                for pattern in grant.paths:
                    narrow = Grant("order", service, (method,), (pattern,))
                    assert any(narrow.covers(m, p) for s, m, p in calls if s == service), (service, method, pattern)


def test_services_call_nobody_but_through_the_clients_that_were_run() -> None:
    assert [service for service in SERVICES if imports(service, "httpx", "aiohttp", "urllib3", "requests")] == ["order"]
    assert {caller for caller, _ in http_edges()} == {"order"}


def test_who_is_allowed_in_the_mesh_is_who_can_be_reached_on_the_network() -> None:
    built = overlay("production")
    allowed = {(each.caller, each.target) for each in grants(built)}
    reached = {(caller, called) for caller, called, _ in expected_edges("production") if caller not in WITHOUT_PROXY}
    assert allowed == {(caller, called) for caller, called in reached if called not in WITHOUT_PROXY}
    for each in grants(built):
        if each.ports:
            assert {(each.caller, each.target, port) for port in each.ports} <= expected_edges("production")


def test_everything_else_is_denied_and_every_caller_that_is_named_has_its_own_account() -> None:
    built = overlay("production")
    (deny,) = (each for each in of_kind(built, "AuthorizationPolicy") if not each["spec"])
    assert deny["metadata"]["name"] == "deny-all"
    held = accounts(built)
    for grant in grants(built):
        assert grant.target in held
        if grant.caller != "world":
            assert held[grant.caller] == grant.caller
            assert [app for app, account in held.items() if account == grant.caller] == [grant.caller]


def test_the_edge_lets_in_only_what_the_code_answers_without_a_token(
    mount: Any,  # noqa: F811
) -> None:
    open_routes: dict[str, set[tuple[str, str]]] = {}
    for workload in services(overlay("production")):
        service = workload["spec"]["template"]["metadata"]["labels"]["app"]
        mount(workload)
        settings = SETTINGS[service].load()
        app: FastAPI = importlib.import_module(f"services.{service}.app").create_app(settings)
        open_routes[service] = open_operations(app)
    for service in SERVICES:
        for grant in grants_of("edge", service):
            for method in grant.methods:
                for pattern in grant.paths:
                    path = pattern.replace("{*}", "x")
                    # a placeholder stands for one segment there and here
                    assert any(
                        method == m and re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", p), path)
                        for m, p in open_routes[service]
                    ), (service, method, pattern)
    assert ("POST", "/process") not in open_routes["payment"]
    assert grants_of("edge", "payment") == []
    paths = [path for service in SERVICES for each in grants_of("edge", service) for path in each.paths]
    assert not [path for path in paths if path.startswith("/admin")]


def open_operations(app: FastAPI) -> set[tuple[str, str]]:
    """Method and path of what needs no token: the others declare that they may answer 401."""
    return {
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        if "401" not in operation["responses"]
    }


def test_the_brokers_users_are_the_services_that_have_a_client_for_it() -> None:
    with_client = {service for service in SERVICES if imports(service, "Broker")}
    for service in SERVICES:
        assert bool(nats._OWN_PUBLISH[service] or nats._OWN_SUBSCRIBE[service]) == (service in with_client)


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_pod_that_no_policy_names_can_neither_send_nor_be_sent_to(name: str) -> None:
    (deny,) = (each for each in of_kind(overlay(name), "NetworkPolicy") if each["metadata"]["name"] == "default-deny")
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
