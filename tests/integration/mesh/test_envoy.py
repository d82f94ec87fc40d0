"""The mesh's own configuration in a real Envoy, before replicas that a test writes."""

import asyncio
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from yarl import URL

from infra.envoy.admin import AdminError
from infra.envoy.render import render
from infra.envoy.topology import compose
from infra.local.envoy import topology, write_configuration
from infra.local.settings import LocalSettings
from infra.local.state import StateDirectory
from infra.mesh import faults
from infra.mesh.traffic import Traffic, load
from tests.fixtures.envoy import Answer, Mesh, Replica, command, running_mesh
from tests.fixtures.waiting import until

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with running_mesh(
        order=[Replica("order-1")],
        payment_v1=[Replica("payment-1"), Replica("payment-2")],
        payment_v2=[Replica("payment-v2-1")],
        inventory=[Replica("inventory-1")],
    ) as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


async def ask(client: aiohttp.ClientSession, url: str, method: str = "GET", **more: Any) -> tuple[int, Any, Any]:
    """Status, headers, and the body (read as JSON when it is some)."""
    async with client.request(method, URL(url, encoded=True), **more) as answer:
        body = await answer.read()
        return answer.status, answer.headers, json.loads(body) if "json" in answer.content_type else body


@pytest.mark.parametrize("place", ["compose", "local"])
def test_envoy_takes_the_configuration_of_each_place_without_a_warning(place: str, tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "s")
    state.create()
    settings = LocalSettings(state_dir=state.path)
    write_configuration(settings, state)
    path = tmp_path / "envoy.yaml"
    text = render(topology(settings, state)) if place == "local" else render(compose())
    path.write_text(re.sub(r"path: \S*(admin|envoy)\.sock", "path: /tmp/unused.sock", text))
    done = subprocess.run(
        command(path, "--mode", "validate", "--log-level", "warning"), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "OK" in done.stdout
    assert not [line for line in done.stderr.splitlines() if "warning" in line]


async def test_an_error_of_the_service_is_passed_on_and_asked_for_once(
    mesh: Mesh, client: aiohttp.ClientSession
) -> None:
    async def busy(_request: str, _headers: dict[str, str]) -> Answer:
        return (
            503,
            {"content-type": "application/problem+json", "retry-after": "7"},
            b'{"type": "/problems/overloaded"}',
        )

    both = [replica for name in ("payment-v1", "payment-v2") for replica in mesh.replicas[name]]
    for replica in both:
        replica.behave = busy
    headers = {"x-envoy-retry-on": "5xx", "x-envoy-max-retries": "5"}
    status, answered, body = await ask(client, mesh.url("payment") + "/process", "POST", json={}, headers=headers)
    assert (status, body, answered["retry-after"]) == (503, {"type": "/problems/overloaded"}, "7")
    assert sum(len(replica.asked) for replica in both) == 1


async def test_a_connection_is_given_up_after_its_number_of_requests_and_none_of_them_is_lost(
    mesh: Mesh, client: aiohttp.ClientSession
) -> None:
    requests = load().connection_requests
    closing = []
    for number in range(1, requests + 11):  # one after the other, so on one connection while it lasts
        async with client.post(mesh.url("inventory") + "/reservations", json={}) as answer:
            assert answer.status == 200
            if answer.headers.get("connection", "").lower() == "close":
                closing.append(number)
    assert closing == [requests]


async def test_a_replica_that_refuses_connections_costs_no_request_and_is_ejected(
    mesh: Mesh, client: aiohttp.ClientSession
) -> None:
    dead, alive = mesh.replicas["payment-v1"]
    await dead.stop()
    answers = [await ask(client, mesh.url("payment") + "/process", "POST", json={}) for _ in range(40)]
    assert {status for status, _, _ in answers} == {200}
    assert len(alive.asked) + len(mesh.replicas["payment-v2"][0].asked) == 40
    assert await asyncio.to_thread(mesh.admin.counter, "cluster.payment-v1.upstream_rq_retry_success") >= 1
    (member,) = [m for m in await asyncio.to_thread(mesh.admin.members) if m.port == dead.port]
    assert {"failed_outlier_check", "failed_active_health_check"} & set(member.failed)


async def test_a_replica_that_answers_nothing_but_errors_is_ejected_and_the_only_one_never_is(
    mesh: Mesh, client: aiohttp.ClientSession
) -> None:
    async def broken(_request: str, _headers: dict[str, str]) -> Answer:
        return 500, {}, b""

    bad, good = mesh.replicas["payment-v1"]
    bad.behave = mesh.replicas["order"][0].behave = broken
    for _ in range(60):
        await ask(client, mesh.url("payment") + "/process", "POST", json={})
        await ask(client, mesh.url("edge") + "/orders")
    assert await asyncio.to_thread(mesh.admin.counter, "cluster.payment-v1.outlier_detection.ejections_active") == 1
    assert len(bad.asked) <= 10 < len(good.asked)
    assert len(mesh.replicas["order"][0].asked) == 60


async def test_a_replica_that_sheds_load_and_says_when_to_come_again_stays(
    mesh: Mesh, client: aiohttp.ClientSession
) -> None:
    async def sheds(_request: str, _headers: dict[str, str]) -> Answer:
        return 503, {"retry-after": "1"}, b""

    busy, other = mesh.replicas["payment-v1"]
    busy.behave = sheds
    for _ in range(60):
        await ask(client, mesh.url("payment") + "/process", "POST", json={})
    assert await asyncio.to_thread(mesh.admin.counter, "cluster.payment-v1.outlier_detection.ejections_active") == 0
    assert len(busy.asked) >= 10
    assert len(other.asked) >= 10


async def test_a_replica_that_is_not_ready_gets_nothing(mesh: Mesh, client: aiohttp.ClientSession) -> None:
    unready, _ = mesh.replicas["payment-v1"]
    unready.ready = False

    def left_out() -> bool:
        return any(m.port == unready.port and m.failed for m in mesh.admin.members())

    await asyncio.to_thread(until, left_out)
    before = len(unready.asked)
    for _ in range(20):
        assert (await ask(client, mesh.url("payment") + "/process", "POST", json={}))[0] == 200
    assert len(unready.asked) == before


async def test_the_header_route_reaches_the_second_version_every_time(
    mesh: Mesh, client: aiohttp.ClientSession
) -> None:
    for path in ("/process", "/refund", "/status/x", "/test-cards"):
        for _ in range(5):
            await ask(client, mesh.url("payment") + path, headers={"x-api-version": "v2"})
    assert len(mesh.replicas["payment-v2"][0].asked) == 20


async def test_a_fault_strikes_its_own_route_only_and_can_be_taken_back(
    mesh: Mesh, client: aiohttp.ClientSession
) -> None:
    async def timed(listener: str, path: str) -> tuple[int, float]:
        began = time.perf_counter()
        status, _, _ = await ask(client, mesh.url(listener) + path, headers={"traceparent": TRACE})
        return status, time.perf_counter() - began

    socket_, process = mesh.topology.admin, faults.route_for("payment", "/process")
    faults.set_fault(socket_, process, delay_ms=1000, delay_percent=100)
    assert [fault.route for fault in faults.current(socket_)] == [process]
    assert (await timed("payment", "/process"))[1] >= 0.99  # its timer counts whole milliseconds
    assert (await timed("payment", "/refund"))[1] < 0.9
    faults.set_fault(socket_, process, abort_status=504, abort_percent=100)
    status, quick = await timed("payment", "/process")
    assert (status, quick < 0.9) == (504, True)
    assert (await timed("inventory", "/reservations/r"))[0] == 200
    faults.clear(socket_, process)
    assert faults.current(socket_) == []
    assert (await timed("payment", "/process"))[0] == 200


async def test_faults_without_an_envoy_say_that_it_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(AdminError, match="does not answer"):
        faults.current(tmp_path / "nobody.sock")


async def test_answers_of_the_edge_itself_are_problems_with_security_headers(
    mesh: Mesh, client: aiohttp.ClientSession
) -> None:
    edge = mesh.url("edge")
    faults.set_fault(mesh.topology.admin, faults.route_for("order"), abort_status=503, abort_percent=100)
    cases = [
        (404, "/problems/not-found", await ask(client, f"{edge}/nowhere")),
        (413, "/problems/body-too-large", await ask(client, f"{edge}/orders", "POST", data=b"x" * 70_000)),
        (503, "/problems/upstream-unavailable", await ask(client, f"{edge}/orders", headers={"traceparent": TRACE})),
    ]
    for status, kind, (answered, headers, body) in cases:
        assert (answered, body["type"], body["status"]) == (status, kind, status)
        assert headers["content-type"] == "application/problem+json"
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert body["title"]
        assert body["detail"]
        assert body["request_id"] == headers["x-request-id"]
        assert "server" not in headers
    assert cases[2][2][2]["trace_id"] == "a" * 32
    assert cases[2][2][1]["retry-after"] == "1"


async def test_no_replica_at_all_is_a_503_that_says_when_to_try_again_and_inside_leaves_that_to_the_caller(
    mesh: Mesh, client: aiohttp.ClientSession
) -> None:
    for name in ("order", "inventory"):
        await mesh.replicas[name][0].stop()
    for listener, path, expected in (("edge", "/orders", "1"), ("inventory", "/products", None)):
        status, headers, body = await ask(client, mesh.url(listener) + path)
        assert (status, body["type"]) == (503, "/problems/upstream-unavailable")
        assert headers.get("retry-after") == expected


async def test_the_edge_lets_nothing_through_but_what_customers_need(mesh: Mesh) -> None:
    for path in (
        "/admin/resilience", "/%61dmin/resilience", "//admin/resilience", "/metrics", "/orders/../admin/resilience",
        "/orders/%2e%2e/admin/resilience", "/orders/..%2fadmin/resilience", "/orders/..%5cadmin", "/ordersx",
    ):  # fmt: skip
        # written byte by byte: a client would tidy the path up
        reader, writer = await asyncio.open_connection(*mesh.topology.listen["edge"])
        writer.write(f"GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n".encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.close()
        assert answer.split()[1] in ("400", "404")
        assert "application/problem+json" in answer
    assert mesh.replicas["order"][0].asked == []


async def test_the_edge_believes_no_header_about_who_calls_and_passes_the_trace_on(
    mesh: Mesh, client: aiohttp.ClientSession
) -> None:
    told = {
        "x-forwarded-for": "203.0.113.9", "forwarded": "for=203.0.113.9", "x-forwarded-host": "evil",
        "x-envoy-retry-on": "5xx", "x-envoy-upstream-rq-timeout-ms": "1", "x-request-id": "mine",
        "traceparent": TRACE, "x-deadline-ms": "900",
    }  # fmt: skip
    _, answered, _ = await ask(client, mesh.url("edge") + "/orders", headers=told)
    ((_, heard),) = mesh.replicas["order"][0].asked
    assert (heard["traceparent"], heard["x-deadline-ms"]) == (TRACE, "900")
    assert heard["x-request-id"] == answered["x-request-id"] != "mine"
    assert not {"forwarded", "x-forwarded-host", "x-envoy-retry-on", "x-envoy-upstream-rq-timeout-ms"} & set(heard)
    assert "203.0.113.9" not in json.dumps(heard)
    status, _, _ = await ask(client, mesh.url("edge") + "/orders", headers={"idempotency_key": "a"})
    assert status == 400


async def test_beyond_its_burst_the_edge_answers_429_and_health_all_the_same(client: aiohttp.ClientSession) -> None:
    async with running_mesh(tight(), order=[Replica("order-1")]) as mesh:
        edge = mesh.url("edge")
        answers = await asyncio.gather(*(ask(client, f"{edge}/orders") for _ in range(100)))
        refused = [(headers, body) for status, headers, body in answers if status == 429]
        assert len(answers) - len(refused) == len(mesh.replicas["order"][0].asked)
        assert len(refused) >= 70
        headers, body = refused[0]
        assert (body["type"], headers["retry-after"]) == ("/problems/too-many-requests", "1")
        assert {(await ask(client, f"{edge}/health/ready"))[0] for _ in range(10)} == {200}


async def test_numbers_and_readiness_are_all_that_is_served_of_the_administration(
    mesh: Mesh, client: aiohttp.ClientSession
) -> None:
    stats = mesh.url("stats")
    status, _, body = await ask(client, f"{stats}/stats/prometheus")
    assert status == 200
    assert b'envoy_cluster_membership_healthy{envoy_cluster_name="payment-v1"} 2' in body
    for method, path in [
        ("POST", "/quitquitquit"), ("GET", "/config_dump"), ("POST", "/stats/prometheus"), ("GET", "/"),
        ("GET", "/stats/prometheus/../../config_dump"), ("POST", "/runtime_modify?a=b"), ("POST", "/ready"),
    ]:  # fmt: skip
        assert (await ask(client, stats + path, method))[0] == 404
    assert mesh.topology.admin.stat().st_mode & 0o777 == 0o600
    ports = {port for _, port in mesh.topology.listen.values()}
    listening = {
        connection.laddr.port
        for connection in psutil.Process(mesh.process.pid).net_connections("tcp")
        if connection.status == "LISTEN"
    }
    assert listening == ports


async def test_one_line_of_json_a_request_is_found_by_its_trace(mesh: Mesh, client: aiohttp.ClientSession) -> None:
    async def traced(_request: str, _headers: dict[str, str]) -> Answer:
        return 200, {"x-trace-id": "c" * 32}, b""

    mesh.replicas["order"][0].behave = traced
    await ask(client, mesh.url("edge") + "/orders?card=4242")
    await ask(client, mesh.url("inventory") + "/reservations", "POST", json={}, headers={"traceparent": TRACE})
    mesh.process.terminate()
    await asyncio.to_thread(mesh.process.wait, 10)
    lines = [json.loads(line) for line in mesh.log.splitlines() if '"event":"hop"' in line]
    by_listener = {line["listener"]: line for line in lines}
    edge, inside = by_listener["edge"], by_listener["inventory"]
    assert (edge["trace_id"], edge["route"], edge["status"], edge["path"]) == ("c" * 32, "orders", 200, "/orders")
    assert (inside["trace_id"], inside["cluster"], inside["tries"]) == ("a" * 32, "inventory", 1)
    assert inside["upstream"] == f"127.0.0.1:{mesh.replicas['inventory'][0].port}"
    assert "4242" not in mesh.log


async def test_a_request_that_is_never_finished_is_given_up() -> None:
    async with running_mesh(tight(), order=[Replica("order-1")]) as mesh:
        reader, writer = await asyncio.open_connection(*mesh.topology.listen["edge"])
        writer.write(b"GET /orders HTTP/1.1\r\nhost: shop\r\n")
        async with asyncio.timeout(10):
            assert b" 408 " in await reader.readline()
        writer.close()
        assert mesh.replicas["order"][0].asked == []


def tight() -> Traffic:
    """The numbers of the mesh with an edge that soon has had enough."""
    numbers = load().model_dump(mode="json")
    numbers["edge"] |= {"rate_limit": {"requests_per_second": 1, "burst": 20}, "request_headers_timeout": "0.5s"}
    return Traffic.model_validate(numbers)
