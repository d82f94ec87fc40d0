"""Experiments in a cluster, through the official client: what is asked for, by which rights, how each refusal ends."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import psutil
import pytest
from kubernetes import client

from chaos.targets.kubernetes import Kubernetes
from chaos.targets.target import TargetError
from tests.unit.chaos.api_server import ChaosHandler, Platform, shipped_rules
from tests.unit.ml.remediation.api_server import serving

APPS = "/apis/apps/v1/namespaces/holdfast"
MESH = "/apis/chaos-mesh.org/v1alpha1/namespaces/holdfast"


class Pod(BaseHTTPRequestHandler):
    """What runs in every pod: it remembers who was asked for what."""

    asked: list[tuple[str, str, str]]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.asked.append((self.command, self.path, self.headers.get("authorization", "")))
        text = b'{"faults": []}'
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        """Not on stderr."""


@pytest.fixture
def platform() -> Platform:
    held = {"admin_token": "the-token", "nats_password": "the-password"}
    held |= {f"{each}_database_url": f"postgresql+asyncpg://auditor:pw@db:5432/{each}" for each in ("order", "payment")}
    return Platform(secret=held | {"inventory_database_url": "postgresql+asyncpg://auditor:pw@nats:5432/inventory"})


@pytest.fixture
def url(platform: Platform) -> Iterator[str]:
    with serving(platform, ChaosHandler) as address:
        yield address


@pytest.fixture
def asked(platform: Platform) -> Iterator[list[tuple[str, str, str]]]:
    """One server stands for all pods."""
    seen: list[tuple[str, str, str]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Asked", (Pod,), {"asked": seen}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    for owner in (*platform.sizes, "nats"):
        platform.ports |= dict.fromkeys(platform.pods_of(owner), ("127.0.0.1", server.server_address[1]))
    yield seen
    server.shutdown()
    server.server_close()


@pytest.fixture
def target(url: str) -> Kubernetes:
    return connected(url)


def connected(url: str, **environment: str) -> Kubernetes:
    settings = client.Configuration(host=url)
    settings.retries = False
    made = Kubernetes(client.ApiClient(settings), environment)
    made._mesh._patience = 1.0
    return made


def test_pods_have_the_names_of_the_local_stacks_processes(target: Kubernetes) -> None:
    names = ["inventory-1", "inventory-2", "order-1", "order-2", "payment-1", "payment-2", "payment-v2-1"]
    assert sorted(each.name for each in target.replicas()) == names
    assert [each.name for each in target.replicas("payment-v2")] == ["payment-v2-1"]
    assert {each.name: each.state for each in target.programs()}["nats"] == "running"
    assert (target.unwell(), target.addresses.prometheus) == ([], "")


def test_scaling_patches_spec_replicas_of_the_version_that_was_read(target: Kubernetes, platform: Platform) -> None:
    target.scale("payment", 3)
    body = {"metadata": {"resourceVersion": "100"}, "spec": {"replicas": 3}}
    scale = f"{APPS}/deployments/payment-v1/scale"
    assert platform.writes() == [("PATCH", scale, body, "application/merge-patch+json")]
    assert target.size("payment") == 3
    target.scale("payment", 3)
    assert len(platform.writes()) == 1


def test_a_conflict_is_read_again_before_the_number_is_set(target: Kubernetes, platform: Platform) -> None:
    def autoscaler(platform: Platform) -> None:
        platform.version += 1
        platform.sizes["order"] = 5
        platform.interfere = None

    platform.interfere = autoscaler
    target.scale("order", 3)
    assert platform.sizes["order"] == 3


def test_what_is_stopped_is_down_for_a_time_that_ends_by_itself(
    target: Kubernetes, platform: Platform, asked: list[Any]
) -> None:
    target.stop("payment-1", 20)
    [(method, path, body, _)] = platform.writes()
    assert (method, path) == ("POST", f"{MESH}/podchaos")
    assert body["metadata"]["labels"] == {"app.kubernetes.io/part-of": "holdfast"}
    assert body["spec"] == {
        "action": "pod-failure",
        "mode": "all",
        "selector": {"pods": {"holdfast": ["payment-v1-0"]}},
        "duration": "20s",
    }
    target._view.look(fresh=True)
    assert {each.name: each.state for each in target.programs()}["payment-1"] == "down"
    assert any("payment-v1: 1 of 2" in each for each in target.unwell())
    assert [each.partition(" ")[0] for each in target.faults()] == ["podchaos"]
    target.clear()
    assert (target.faults(), target.unwell(), platform.objects) == ([], [], {})
    assert ("DELETE", "/admin/faults", "Bearer the-token") in asked


def test_a_killed_pod_has_a_successor_of_the_same_name_and_another_number(
    target: Kubernetes, platform: Platform
) -> None:
    before = {each.name: each.pid for each in target.programs()}
    target.kill("inventory-2")
    assert [each[0] for each in platform.writes()] == ["POST", "DELETE"]
    assert platform.writes()[0][2]["spec"]["selector"] == {"pods": {"holdfast": ["inventory-1"]}}
    target._view.look(fresh=True)
    after = {each.name: each.pid for each in target.programs()}
    assert {name for name in before if before[name] != after[name]} == {"inventory-2"}


def test_all_servers_of_the_broker_are_one_program(target: Kubernetes, platform: Platform) -> None:
    target.stop("nats", 5)
    assert platform.writes()[0][2]["spec"]["selector"]["pods"] == {"holdfast": ["nats-0", "nats-1", "nats-2"]}


def test_a_fault_that_does_not_get_in_is_deleted(target: Kubernetes, platform: Platform) -> None:
    platform.injects = False
    with pytest.raises(TargetError, match="was not put in within 1 s: no pod was selected"):
        target.stop("payment-1", 20)
    assert platform.objects == {}


def test_what_cannot_be_had_says_so_and_asks_for_nothing(target: Kubernetes, platform: Platform) -> None:
    for ask in (lambda: target.pause("inventory-2", 5), lambda: target.mesh_repeats(True)):
        with pytest.raises(TargetError, match="cluster"):
            ask()
    with pytest.raises(TargetError, match="There is no ledger"):
        target.kill("ledger")
    platform.proxies = True
    target._view.look(fresh=True)
    with pytest.raises(TargetError, match="Istio's proxies"):
        target.mesh("payment", {"path": "/process", "abort_status": 503, "abort_percent": 50}, 5)
    assert platform.writes() == []


def test_without_chaos_mesh_there_is_nothing_to_end_and_nothing_can_be_stopped(
    target: Kubernetes, platform: Platform
) -> None:
    platform.installed = False
    target.clear()
    with pytest.raises(TargetError, match="Chaos Mesh is not installed"):
        target.stop("payment-1", 5)


@pytest.mark.parametrize("lacking", ["deployments/scale", "podchaos", "secrets"])
def test_a_right_that_is_missing_is_named_with_where_it_is_given(
    target: Kubernetes, platform: Platform, lacking: str
) -> None:
    platform.rules["holdfast"] = [rule for rule in platform.rules["holdfast"] if lacking not in rule["resources"]]
    doing = {
        "deployments/scale": lambda: target.scale("order", 1),
        "podchaos": lambda: target.kill("order-1"),
        "secrets": target.broker,
    }
    with pytest.raises(TargetError, match=r"forbidden: .*drills\.yaml"):
        doing[lacking]()
    assert (platform.objects, platform.sizes["order"]) == ({}, 2)


def test_a_deployment_that_is_missing_and_a_server_that_is_away_are_said_to_be(
    target: Kubernetes, platform: Platform
) -> None:
    del platform.sizes["payment-v2"]
    with pytest.raises(TargetError, match="not found"):
        target.size("payment-v2")
    with pytest.raises(TargetError, match="does not answer"):
        connected("http://127.0.0.1:1")


def test_the_operator_reaches_databases_through_a_forward_only_where_they_are_in_the_namespace(
    target: Kubernetes,
) -> None:
    urls = target._secret.database_urls(target._ports.near)
    assert urls["order"] == "postgresql+asyncpg://auditor:pw@db:5432/order"
    assert urls["inventory"].startswith("postgresql+asyncpg://auditor:pw@127.0.0.1:")


def test_connections_to_the_edge_go_to_ready_pods_in_turn_and_end_with_their_pod_only(
    target: Kubernetes, platform: Platform, asked: list[Any]
) -> None:
    platform.ports.pop("order-0")
    answers = []
    for _ in range(4):
        try:
            answers.append(httpx.get(f"{target.addresses.edge}/orders", timeout=20, trust_env=False).status_code)
        except httpx.TransportError:
            answers.append(0)
    assert sorted(answers) == [0, 0, 200, 200]


def test_the_rights_that_are_shipped_are_those_that_are_used(url: str, platform: Platform, asked: list[Any]) -> None:
    platform.prometheus = True
    target = connected(url)
    assert target.addresses.prometheus
    platform.ports["prometheus-0"] = platform.ports["order-0"]
    assert httpx.get(target.addresses.prometheus, timeout=20, trust_env=False).status_code == 200
    for service in ("order", "payment", "payment-v2", "inventory"):
        target.scale(service, target.size(service) + 1)
    target.ask(target.replicas("order")[0], "GET", "/info")
    target.stop("payment-1", 5)
    target.mesh("payment", {"path": "/process", "abort_status": 503, "abort_percent": 50}, 5)
    target.broker()
    for kind in ("networkchaos", "stresschaos", "iochaos", "dnschaos", "timechaos", "workflows"):
        platform.objects[kind, "by-hand"] = {"metadata": {"name": "by-hand"}, "spec": {"selector": {}}}
    target.clear()
    shipped = {
        (namespace, resource, verb)
        for namespace, rules in shipped_rules().items()
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert platform.exercised == shipped


HOLDS = """
import sys
from tests.unit.chaos.test_kubernetes_target import connected
print(connected(sys.argv[1]).addresses.edge, flush=True)
sys.stdin.read()
"""


def test_a_runner_that_is_killed_leaves_no_forward(url: str, asked: list[Any]) -> None:
    runner = subprocess.Popen(
        [sys.executable, "-c", HOLDS, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert runner.stdout is not None
    edge = runner.stdout.readline().strip()
    assert httpx.get(edge, timeout=20, trust_env=False).status_code == 200
    assert psutil.Process(runner.pid).children() == []
    runner.kill()
    runner.communicate(timeout=20)
    with pytest.raises(httpx.ConnectError):
        httpx.get(edge, timeout=20, trust_env=False)
