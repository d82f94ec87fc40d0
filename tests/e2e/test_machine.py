"""Chaos of the machine below one platform: it serves or refuses clearly, and what it acknowledged is there at the end.

docs/operations.md has the table of what else can happen to a machine, and which test holds it.
"""

import asyncio
import contextlib
import json
import resource
import shutil
import socket
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.databases import sqlite_url
from infra.local.errors import StackError
from infra.local.faults import StackFaults
from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from tests.e2e.conftest import audit
from tests.e2e.customers import Answer, Customers, customers, order_body, write_answers
from tests.e2e.settling import until_settled
from tests.fixtures.waiting import until

HOUR = 3_600.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    # recovery asks for queued payments after a second instead of twenty
    command = "env ASK_AGAIN_SECONDS=1 {python} -m services.{module}"
    directory = tmp_path_factory.mktemp("machine") / ".local"
    with running_stack(directory, mesh="off", replicas_payment_v2=0, service_command=command) as stack:
        yield stack


@pytest.fixture(scope="module")
def answers() -> list[Answer]:
    """What customers were told, over all tests: the last one has the auditor compare it with the databases."""
    return []


@pytest.fixture
async def crowd(stack: LocalStack) -> AsyncIterator[Customers]:
    async with customers(stack.url("order")) as crowd:
        yield crowd


def inject(stack: LocalStack, replica: str, **fault: Any) -> None:
    with operator(stack, replica) as client:
        assert client.post("/admin/faults", json={"seconds": 120, **fault}).status_code == 201


def lift(stack: LocalStack, replica: str) -> None:
    with operator(stack, replica) as client:
        assert client.delete("/admin/faults").is_success


def operator(stack: LocalStack, replica: str) -> httpx.Client:
    token = stack.secret("operator", "admin_token")
    return httpx.Client(base_url=stack.url(replica), headers={"Authorization": f"Bearer {token}"}, timeout=20)


def highest_descriptor(pid: int) -> int:
    return max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())


def queued(stack: LocalStack) -> int:
    """Messages in the stream PAYMENTS; -1 while there is none."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{stack.url('nats-monitor')}/jsz?streams=1") as answer:
        for account in json.load(answer).get("account_details") or []:
            for stream in account.get("stream_detail") or []:
                if stream["name"] == "PAYMENTS":
                    return int(stream["state"]["messages"])
    return -1


async def test_a_clock_an_hour_off_is_refused_and_all_is_well_as_soon_as_it_is_right(
    stack: LocalStack, crowd: Customers, answers: list[Answer]
) -> None:
    for replica in ("order-1", "payment-1", "inventory-1"):
        for name, offset in (("ahead", HOUR), ("behind", -HOUR)):
            inject(stack, replica, kind="clock", offset_seconds=offset)
            key = f"clock-{replica}-{name}"
            during = await crowd.once(key, order_body())
            assert during.status in (201, 202, 503), during.body
            lift(stack, replica)
            answers.append(await crowd.place(key, order_body()))
            assert answers[-1].status in (201, 202)
    await until_settled(crowd, seconds=60)
    answers.append(await crowd.place("clock-right", order_body()))


async def test_queued_payments_outlive_a_broker_that_restarts_runs_out_of_disk_and_loses_it(
    stack: LocalStack, crowd: Customers, answers: list[Answer]
) -> None:
    await asyncio.to_thread(stack.scale, "payment", 0)
    answers += [await crowd.place(f"kept-{n}", order_body()) for n in range(3)]
    assert {answer.status for answer in answers[-3:]} == {202}
    until(lambda: queued(stack) == 3)

    await asyncio.to_thread(stack.restart, "nats")
    until(lambda: queued(stack) == 3)

    broker = stack.pids("nats")["nats"]
    resource.prlimit(broker, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    answers.append(await crowd.place("full", order_body()))
    assert answers[-1].status == 202
    until(lambda: stack.pids("nats").get("nats", broker) != broker)  # nobody asked for that
    until(lambda: queued(stack) == 4)

    StackFaults(stack).stop("nats", 120)
    until(lambda: not stack.running_program("nats"))
    shutil.rmtree(stack.state.data / "nats")
    StackFaults(stack).clear()
    await asyncio.to_thread(stack.wait_ready, "nats")
    await asyncio.to_thread(stack.scale, "payment", 1)
    await until_settled(crowd, seconds=60)
    for answer in answers[-4:]:
        assert (await crowd.get(f"/orders/{answer.body['id']}"))["state"] == "CONFIRMED"


async def test_an_order_service_without_descriptors_takes_nothing_it_cannot_keep(
    stack: LocalStack, crowd: Customers, answers: list[Answer]
) -> None:
    answers.append(await crowd.place("before-the-limit", order_body()))
    pid = stack.pids("order-1")["order-1"]
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as idle:
        port = httpx.URL(stack.url("order-1")).port
        for _ in range(20):
            idle.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest_descriptor(pid) + 1, before[1]))
        during = await crowd.once("without-descriptors", order_body())  # on a connection that was there before
        assert during.status in (201, 202, 503), during.body
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    answers.append(await crowd.place("without-descriptors", order_body()))
    if during.status != 503:
        assert answers[-1].body["id"] == during.body["id"]
    await asyncio.to_thread(stack.wait_ready, "order-1")


def test_a_damaged_database_stops_the_start_by_name_and_a_restored_one_serves_again(stack: LocalStack) -> None:
    stack.scale("inventory", 0)
    path = Path(sqlite_url(stack.state, "inventory").removeprefix("sqlite+aiosqlite:///"))
    backup = path.read_bytes()
    path.write_bytes(backup[: len(backup) // 2])
    with pytest.raises(StackError, match="inventory-1 refuses its configuration, exit code 78") as caught:
        stack.scale("inventory", 1)
    assert f"the file {path} is damaged: " in str(caught.value)
    (found,) = [program for program in stack.status() if program.name == "inventory-1"]
    assert (found.state, found.restarts, "restore it from a backup" in found.reason) == ("EXITED", 0, True)
    path.write_bytes(backup)
    stack.scale("inventory", 1)


async def test_after_all_of_that_nothing_that_was_acknowledged_is_lost(
    stack: LocalStack, crowd: Customers, answers: list[Answer], tmp_path: Path
) -> None:
    answers.append(await crowd.place("after-all", order_body()))
    await until_settled(crowd, seconds=60)
    audit(stack, answers=write_answers(tmp_path / "answers.jsonl", answers))
