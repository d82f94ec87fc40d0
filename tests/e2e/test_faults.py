"""Faults on purpose on a running platform: they are felt, and they end without whoever began them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from infra.local import envoy
from infra.local.errors import StackError
from infra.local.everywhere import end_everything
from infra.local.faults import StackFaults
from infra.local.harness import running_stack
from infra.local.leases import PAUSE, Lease, Leases, suspend
from infra.local.poison import publish
from infra.local.settings import PREFIX, ROOT
from infra.local.stack import LocalStack
from infra.mesh import faults as mesh_faults
from tests.e2e.customers import order_body
from tests.fixtures.waiting import until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    directory = tmp_path_factory.mktemp("faults") / ".local"
    with running_stack(directory, replicas_payment_v2=0) as stack:
        yield stack


@pytest.fixture(autouse=True)
def nothing_left(stack: LocalStack) -> Iterator[None]:
    yield
    end_everything(stack)
    if stack.running():
        stack.wait_ready(seconds=30)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "infra.local", *words]


def environment(stack: LocalStack) -> dict[str, str]:
    return os.environ | {f"{PREFIX}{key.upper()}": str(value) for key, value in stack.settings.model_dump().items()}


def local(stack: LocalStack, *words: str) -> str:
    done = subprocess.run(
        command(*words), cwd=ROOT, env=environment(stack), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def process(stack: LocalStack, name: str) -> psutil.Process:
    return psutil.Process(stack.pids(name)[name])


def is_paused(stack: LocalStack, name: str) -> bool:
    return process(stack, name).status() == psutil.STATUS_STOPPED


def operator(stack: LocalStack, replica: str) -> httpx.Client:
    token = stack.secret("operator", "admin_token")
    return httpx.Client(base_url=stack.url(replica), headers={"Authorization": f"Bearer {token}"}, timeout=20)


def inject(stack: LocalStack, replica: str, **fault: Any) -> None:
    with operator(stack, replica) as client:
        answer = client.post("/admin/faults", json=fault)
        assert answer.status_code == 201, answer.text


def place(stack: LocalStack, key: str) -> tuple[int, float]:
    """The status of an order, and the seconds that it took."""
    began = time.monotonic()
    answer = httpx.post(f"{stack.url('order')}/orders", json=order_body(), headers={"Idempotency-Key": key}, timeout=20)
    return answer.status_code, time.monotonic() - began


def test_a_pause_ends_though_the_command_that_began_it_was_killed(stack: LocalStack) -> None:
    words = command("fault", "pause", "inventory-1", "--seconds", "2")
    with subprocess.Popen(words, cwd=ROOT, env=environment(stack), stdout=subprocess.DEVNULL) as running:
        until(lambda: is_paused(stack, "inventory-1"))
        running.kill()
    until(lambda: Leases(stack.state.faults).all() == [])
    until(lambda: not is_paused(stack, "inventory-1"))


def test_a_fault_whose_command_was_killed_before_it_told_of_it_ends_too(stack: LocalStack) -> None:
    pids = tuple(stack.pids("inventory-1").values())
    Leases(stack.state.faults).write(Lease("pause-untold", PAUSE, "inventory-1", time.time() + 1, pids=pids))
    suspend(pids)
    until(lambda: Leases(stack.state.faults).all() == [])
    until(lambda: not is_paused(stack, "inventory-1"))


def test_a_reviver_that_is_killed_meanwhile_ends_it_when_it_is_back(stack: LocalStack) -> None:
    (fault,) = StackFaults(stack).pause("payment-1", 2)
    (reviver,) = [
        child
        for child in psutil.Process(stack.control.pid()).children()
        if "infra.local.reviver" in " ".join(child.cmdline())
    ]
    reviver.kill()
    until(lambda: StackFaults(stack).active() == [])
    until(lambda: not is_paused(stack, "payment-1"))
    assert not reviver.is_running()
    assert fault.target == "payment-1"


def test_a_program_that_was_stopped_is_started_again_and_a_second_fault_on_it_is_refused(stack: LocalStack) -> None:
    (fault,) = StackFaults(stack).pause("payment-1", 60)
    assert fault.id in local(stack, "fault", "list", "--json")
    with pytest.raises(StackError, match="payment-1 has a fault already: pause-"):
        StackFaults(stack).stop("payment-1", 1)
    StackFaults(stack).clear()
    assert not is_paused(stack, "payment-1")
    before = process(stack, "payment-1")
    StackFaults(stack).stop("payment-1", 1)
    until(lambda: not before.is_running())
    until(lambda: stack.running_program("payment-1"))
    stack.wait_ready("payment-1", seconds=30)


def test_a_slow_partner_is_felt_by_the_customer_until_everything_is_ended(stack: LocalStack) -> None:
    inject(stack, "payment-1", kind="http", path="/process", latency_ms=300, seconds=120, experiment="e2e")
    inject(stack, "inventory-1", kind="clock", offset_seconds=1, seconds=120)
    with operator(stack, "payment-1") as client:
        assert client.put("/admin/card-network", json={"latency_median_ms": 5, "seconds": 120}).status_code == 200
    with operator(stack, "order-1") as client:
        path = "/admin/resilience/payment.process/faults"
        assert client.post(path, json={"latency": "1ms", "seconds": 120}).status_code == 201
    status, seconds = place(stack, "slow")
    assert status in (201, 202)  # a busy machine adds its own latency, and the order may have to wait for its payment
    assert seconds >= 0.29  # two clocks
    told = local(stack, "fault", "clear", "--everywhere")
    for line in (
        "payment-1: faults, 1 ended",
        "payment-1: switch of the card network, 1 ended",
        "inventory-1: faults, 1 ended",
        "order-1: faults of payment.process, 1 ended",
    ):
        assert line in told
    status, _ = place(stack, "fast")
    assert status == 201
    with operator(stack, "payment-1") as client:
        assert client.get("/admin/faults").json()["faults"] == []
        assert 'faults_struck_total{kind="http"} 0.0' not in client.get("/metrics").text


def test_a_cut_connection_is_cut_without_an_answer_and_only_it(stack: LocalStack) -> None:
    inject(stack, "inventory-1", kind="http", path="/products", method="GET", abort=True, rate=1, seconds=120)
    with operator(stack, "inventory-1") as cut, operator(stack, "inventory-1") as other:
        assert other.get("/health/live").status_code == 200
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            cut.get("/products")
        assert other.get("/health/live").status_code == 200
        text = (stack.state.logs / "inventory-1.log").read_text()
        assert "Exception in ASGI" not in text
        assert "without starting response" not in text


def test_orders_whose_payment_has_no_name_any_more_wait_for_it_and_the_breaker_opens(stack: LocalStack) -> None:
    inject(stack, "order-1", kind="network", to="payment", error="dns", seconds=120)
    # Attempts that fail open the breaker: ten in the window, with those before them.
    assert {place(stack, f"nameless-{number}")[0] for number in range(10)} == {202}
    with operator(stack, "order-1") as client:
        (fault,) = client.get("/admin/faults").json()["faults"]
        assert fault["struck"] >= 3
        assert client.get("/health/ready").json()["breakers"]["payment"] != "closed"
    end_everything(stack)
    until(lambda: place(stack, f"named-{time.monotonic_ns()}")[0] == 201)


def test_an_order_service_that_cannot_write_takes_no_order_until_it_can(stack: LocalStack) -> None:
    inject(stack, "order-1", kind="disk", seconds=120)
    answer = httpx.post(
        f"{stack.url('order')}/orders", json=order_body(), headers={"Idempotency-Key": "unwritten"}, timeout=20
    )
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/database-unavailable")
    assert httpx.get(f"{stack.url('order-1')}/health/live", timeout=20).status_code == 200
    end_everything(stack)
    until(lambda: place(stack, "unwritten")[0] in (201, 202))


@pytest.mark.parametrize("body", ["undecodable", "ill-typed"])
def test_a_poisonous_message_ends_among_the_dead_letters(stack: LocalStack, body: str) -> None:
    def dead() -> float:
        text = httpx.get(f"{stack.url('payment-1')}/metrics", timeout=20).text
        wanted = 'subject="payments.requested"'
        lines = [line for line in text.splitlines() if wanted in line and 'outcome="dead"' in line]
        return sum(float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#"))

    before = dead()
    publish(stack, "payments.requested", body)
    until(lambda: dead() == before + 1)


def test_a_fault_of_the_mesh_ends_by_itself_and_so_does_one_without_a_lease(stack: LocalStack) -> None:
    if not stack.running_program(envoy.PROGRAM):
        pytest.skip("there is no Envoy for this platform")
    socket = envoy.admin_socket(stack.state)
    process, refund = mesh_faults.route_for("payment", "/process"), mesh_faults.route_for("payment", "/refund")
    spoilt = mesh_faults.Fault(process, abort_status=503, abort_percent=100)
    StackFaults(stack).mesh(spoilt, 2)
    assert mesh_faults.current(socket) == [spoilt]
    with pytest.raises(StackError, match="payment /process has a fault already"):
        StackFaults(stack).mesh(spoilt, 2)
    until(lambda: mesh_faults.current(socket) == [])
    until(lambda: StackFaults(stack).active() == [])
    mesh_faults.set_fault(socket, refund, abort_status=503, abort_percent=100)
    end_everything(stack)
    assert mesh_faults.current(socket) == []


def test_up_and_down_end_every_fault(stack: LocalStack) -> None:
    StackFaults(stack).pause("order-1", 600)
    stack.up()
    assert StackFaults(stack).active() == []
    StackFaults(stack).pause("order-1", 600)
    stack.down()
    assert StackFaults(stack).active() == []
