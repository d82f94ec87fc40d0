"""The platform behind a real Envoy: the canary, the edge, replicas that go away, and Envoy itself that goes away."""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Iterator

import aiohttp
import httpx
import pytest

from infra.envoy.admin import Admin
from infra.local import logs
from infra.local.envoy import admin_socket, stats_url
from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from infra.mesh import faults
from tests.e2e.conftest import audit
from tests.e2e.customers import Answer, Customers, customers, order_body, statuses
from tests.e2e.settling import until_settled
from tests.fixtures.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

REQUESTS, CANARY, TOLERANCE = 2_000, 0.10, 0.02


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    directory = tmp_path_factory.mktemp("mesh") / ".local"
    with running_stack(directory, mesh="envoy", replicas_order=2, replicas_payment=2) as stack:
        yield stack
        asyncio.run(settle(stack))
        audit(stack)


async def settle(stack: LocalStack) -> None:
    """Every order comes to its end."""
    async with customers(stack.url("order"), seconds=30) as crowd:
        await until_settled(crowd, seconds=60)


def admin(stack: LocalStack) -> Admin:
    return Admin(admin_socket(stack.state))


async def versions(stack: LocalStack, count: int, **headers: str) -> Counter[str]:
    """Which version of payment answered, of so many requests through the mesh."""
    found: Counter[str] = Counter()
    rest = iter(range(count))
    async with aiohttp.ClientSession() as session:

        async def client() -> None:
            for _ in rest:
                async with session.get(f"{stack.url('payment')}/test-cards", headers=headers) as answer:
                    assert answer.status == 200
                    found[answer.headers["x-api-version"]] += 1

        await asyncio.gather(*(client() for _ in range(8)))
    return found


async def shop(crowd: Customers, done: asyncio.Event) -> list[Answer]:
    """Four customers who order one thing after the other until the event comes, as patient as customers are."""
    answers: list[Answer] = []

    async def customer() -> None:
        while not done.is_set():
            answers.append(await crowd.place(uuid.uuid4().hex, order_body()))

    await asyncio.gather(*(customer() for _ in range(4)))
    return answers


async def test_a_tenth_of_the_calls_goes_to_the_second_version(stack: LocalStack) -> None:
    found = await versions(stack, REQUESTS)
    assert set(found) == {"v1", "v2"}
    assert abs(found["v2"] / REQUESTS - CANARY) <= TOLERANCE


async def test_a_caller_that_asks_for_the_second_version_gets_it_every_time(stack: LocalStack) -> None:
    assert await versions(stack, 200, **{"x-api-version": "v2"}) == {"v2": 200}


async def test_an_order_takes_every_hop_through_envoy_and_is_found_there_by_its_trace(stack: LocalStack) -> None:
    async with aiohttp.ClientSession() as session:
        key = {"Idempotency-Key": uuid.uuid4().hex}
        async with session.post(f"{stack.url('order')}/orders", json=order_body(), headers=key) as answer:
            assert answer.status == 201
            trace = answer.headers["x-trace-id"]

    def hops() -> set[str]:
        lines = logs.recent(stack.state.logs, "envoy", trace, 50)
        return {str(line.fields["cluster"]) for line in lines}

    await asyncio.to_thread(until, lambda: len(hops()) >= 3)
    assert hops() >= {"order", "inventory"}
    assert hops() & {"payment-v1", "payment-v2"}


async def test_the_edge_keeps_the_operators_routes_to_itself_and_the_replicas_serve_them(stack: LocalStack) -> None:
    token = {"authorization": f"Bearer {stack.secret('operator', 'admin_token')}"}
    async with httpx.AsyncClient(timeout=10) as client:
        for path in ("/admin/resilience", "/metrics"):
            hidden = await client.get(stack.url("order") + path, headers=token)
            assert (hidden.status_code, hidden.json()["type"]) == (404, "/problems/not-found")
            assert hidden.headers["content-type"] == "application/problem+json"
            assert (await client.get(stack.url("order-1") + path, headers=token)).status_code == 200
        ready = await client.get(stack.url("order") + "/health/ready")
        numbers = (await client.get(stats_url(stack.settings))).text
    assert (ready.status_code, ready.headers["x-content-type-options"]) == (200, "nosniff")
    assert "server" not in ready.headers
    assert 'envoy_cluster_upstream_rq_total{envoy_cluster_name="order"}' in numbers


async def test_a_payment_replica_that_stops_under_load_loses_no_order_and_is_ejected(stack: LocalStack) -> None:
    done, port = asyncio.Event(), int(stack.url("payment-2").rpartition(":")[2])
    ejections = "cluster.payment-v1.outlier_detection.ejections_enforced_total"
    before = admin(stack).counter(ejections)

    def out() -> bool:
        left_out = any(member.port == port and member.failed for member in admin(stack).members())
        return left_out and admin(stack).counter(ejections) > before

    async def stop() -> None:
        try:
            # the stack is not told, so Envoy has to find out
            await asyncio.to_thread(stack.control.stop, "payment-2", wait=True)
            await asyncio.to_thread(until, out)
            await asyncio.sleep(1)  # and the load goes on for a while
        finally:
            done.set()

    async with customers(stack.url("order"), seconds=30) as crowd:
        try:
            answers, _ = await asyncio.gather(shop(crowd, done), stop())
        finally:
            await asyncio.to_thread(stack.scale, "payment", 2)
    assert len(answers) >= 4
    assert set(statuses(answers)) <= {201, 202}


async def test_restarting_order_replica_by_replica_under_load_loses_no_request(stack: LocalStack) -> None:
    done = asyncio.Event()

    async def restart() -> None:
        try:
            await asyncio.to_thread(stack.restart, "order")
        finally:
            done.set()

    async def visit() -> Counter[str]:
        found: Counter[str] = Counter()
        async with aiohttp.ClientSession() as session:
            while not done.is_set():
                async with session.get(f"{stack.url('order')}/info") as answer:
                    # what a service answers has the id of its trace, what Envoy answers in its place has not
                    found["service" if "x-trace-id" in answer.headers else f"Envoy {await answer.text()}"] += 1
                await asyncio.sleep(0.01)  # three of them stay below the edge's rate limit on any machine
        return found

    async with customers(stack.url("order"), seconds=30) as crowd:
        answers, *visits, _ = await asyncio.gather(shop(crowd, done), visit(), visit(), visit(), restart())
    assert set(statuses(answers)) <= {201, 202}
    assert {who for visit in visits for who in visit} == {"service"}
    assert sum(visit.total() for visit in visits) > 100


async def test_a_fault_in_the_mesh_queues_payments_and_orders_settle_after_it(stack: LocalStack) -> None:
    socket = admin_socket(stack.state)
    async with customers(stack.url("order"), seconds=30) as crowd:
        faults.set_fault(socket, faults.route_for("payment", "/process"), abort_status=503, abort_percent=100)
        try:
            answers = [await crowd.once(uuid.uuid4().hex, order_body()) for _ in range(5)]
        finally:
            faults.clear(socket)
        assert statuses(answers) == {202: 5}
        await until_settled(crowd, seconds=40)


async def test_an_envoy_that_is_killed_comes_back_and_no_order_is_lost(stack: LocalStack) -> None:
    before = stack.pids("envoy")["envoy"]

    async def kill() -> None:
        await asyncio.sleep(0.5)
        await asyncio.to_thread(stack.kill, "envoy")
        await asyncio.to_thread(until, lambda: stack.pids("envoy").get("envoy", before) != before)
        await asyncio.to_thread(stack.wait_ready, "envoy")

    async with customers(stack.url("order"), seconds=15) as crowd:
        placing = [crowd.place(f"envoy-killed-{n}", order_body(), patience=60) for n in range(30)]

        async def spread() -> list[Answer]:
            tasks = []
            for each in placing:
                tasks.append(asyncio.create_task(each))
                await asyncio.sleep(0.05)
            return list(await asyncio.gather(*tasks))

        answers, _ = await asyncio.gather(spread(), kill())
        assert set(statuses(answers)) <= {201, 202}
        await until_settled(crowd, seconds=40)


def test_the_log_of_envoy_is_one_json_object_a_line(stack: LocalStack) -> None:
    lines = [line.text for line in logs.recent(stack.state.logs, "envoy", "", 500)]
    assert len(lines) == 500
    assert all(json.loads(line)["event"] for line in lines if line.startswith("{"))
    assert len([line for line in lines if line.startswith("{")]) > 490
