"""One stack with a real supervisor, a real broker and stand-in services, taken through an operator's day."""

import json
import os
import resource
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.local import logs, processes
from infra.local.errors import StackError
from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from tests.fixtures.waiting import until

STANDIN = "{python} tests/fixtures/standin.py {module}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with running_stack(tmp_path_factory.mktemp("stack") / ".local", traces="on", service_command=STANDIN) as running:
        yield running


def get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return dict(json.load(answer))


def test_every_default_replica_and_the_broker_are_ready_after_up(stack: LocalStack) -> None:
    ready = {program.name for program in stack.status() if program.ready}
    assert ready - {"envoy"} == {"nats", "control-room-1", "order-1", "payment-1", "payment-v2-1", "inventory-1"}
    assert ("envoy" in ready) == (stack.settings.mesh == "envoy")
    assert all(program.well for program in stack.status())


def test_up_on_a_stack_that_is_up_changes_nothing(stack: LocalStack) -> None:
    before = {name: stack.pids(name) for name in ("nats", "order", "payment", "payment-v2", "inventory")}
    stack.up()
    assert {name: stack.pids(name) for name in before} == before


def test_up_starts_what_somebody_stopped(stack: LocalStack) -> None:
    stack.scale("inventory", 0)
    assert stack.pids("inventory") == {}
    stack.up()
    assert set(stack.pids("inventory")) == {"inventory-1"}


def test_a_service_gets_the_environment_of_the_contract(stack: LocalStack) -> None:
    found = get(stack.url("payment-v2-1") + "/environment")
    assert found["INSTANCE"] == "payment-v2-1"
    assert found["API_VERSION"] == "v2"
    assert found["NATS_URL"] == stack.url("nats")
    assert found["DATABASE_URL"] == f"sqlite+aiosqlite:///{stack.state.data / 'payment.sqlite'}"
    assert Path(found["SECRETS_DIR"], "nats_password").exists()
    payment = stack.url("payment").replace("127.0.0.1", "localhost")
    assert get(stack.url("order-1") + "/environment")["PAYMENT_URL"] == payment


def test_no_secret_shows_in_any_command_line_or_environment(stack: LocalStack) -> None:
    values = [path.read_text() for path in stack.state.secrets.rglob("*") if path.is_file()]
    shown = "\n".join(
        "\n".join([*process.cmdline(), *process.environ().values()]) for process in processes.of_stack(stack.state)
    )
    assert len(values) > 10
    assert "payment-1" in shown
    assert not [value for value in values if value in shown]


def test_scaling_starts_the_next_slot_and_stops_the_last(stack: LocalStack) -> None:
    first = stack.pids("payment")["payment-1"]
    stack.scale("payment", 2)
    assert set(stack.pids("payment")) == {"payment-1", "payment-2"}
    assert get(stack.url("payment-2"))["instance"] == "payment-2"
    stack.scale("payment", 1)
    assert stack.pids("payment") == {"payment-1": first}


def test_scaling_beyond_the_slots_names_the_setting(stack: LocalStack) -> None:
    with pytest.raises(StackError, match="slots_payment"):
        stack.scale("payment", 3)


def test_a_replica_that_is_killed_again_and_again_comes_back_each_time(stack: LocalStack) -> None:
    for _ in range(3):
        before = stack.pids("order-1")["order-1"]
        stack.kill("order-1")
        until(lambda old=before: stack.pids("order-1").get("order-1", old) != old)
        stack.wait_ready("order-1")
    restarts = {program.name: program.restarts for program in stack.status()}
    assert restarts["order-1"] == 3


def test_a_replica_that_ends_by_itself_is_started_again_even_with_exit_code_0(stack: LocalStack) -> None:
    before = stack.pids("payment-v2-1")["payment-v2-1"]
    psutil.Process(before).terminate()
    until(lambda: stack.pids("payment-v2-1").get("payment-v2-1", before) != before)
    stack.wait_ready("payment-v2-1")


def test_the_reviver_itself_may_be_killed(stack: LocalStack) -> None:
    (reviver,) = [each for each in processes.of_stack(stack.state) if "infra.local.reviver" in each.cmdline()]
    before = stack.pids("inventory-1")["inventory-1"]
    reviver.kill()
    stack.kill("inventory-1")
    until(lambda: stack.pids("inventory-1").get("inventory-1", before) != before)
    stack.wait_ready("inventory-1")


def test_what_ends_is_started_again_also_while_the_supervisors_disk_is_full(stack: LocalStack) -> None:
    family = processes.of_stack(stack.state)
    watchers = [each.pid for each in family if {"infra.local.reviver", "supervisor.supervisord"} & {*each.cmdline()}]
    assert len(watchers) == 2
    for pid in watchers:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        for _ in range(2):
            before = stack.pids("inventory-1")["inventory-1"]
            stack.kill("inventory-1")
            until(lambda old=before: stack.pids("inventory-1").get("inventory-1", old) != old)
            stack.wait_ready("inventory-1")
        assert {pid for pid in watchers if psutil.pid_exists(pid)} == {*watchers}
    finally:
        for pid in watchers:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    stack.restart("inventory")  # it inherited the limit
    assert '"started"' in (stack.state.logs / "inventory-1.log").read_text().splitlines()[-1]


def test_a_stopped_process_is_reported_as_not_ready_and_can_go_on(stack: LocalStack) -> None:
    stack.kill("inventory-1", "STOP")
    (found,) = [program for program in stack.status() if program.name == "inventory-1"]
    assert (found.well, found.reason) == (False, "no answer within 2 s")
    stack.kill("inventory-1", "CONT")
    stack.wait_ready("inventory-1")


def test_a_signal_that_does_not_exist_is_refused(stack: LocalStack) -> None:
    with pytest.raises(StackError, match="NONSENSE"):
        stack.kill("order-1", "NONSENSE")


def test_a_name_that_does_not_exist_is_refused_with_those_that_do(stack: LocalStack) -> None:
    with pytest.raises(StackError, match="order, payment, payment-v2, inventory"):
        stack.restart("warehouse")


def test_restarting_a_service_gives_new_processes_that_are_ready(stack: LocalStack) -> None:
    before = stack.pids("payment")
    stack.restart("payment")
    assert set(stack.pids("payment")) == set(before)
    assert stack.pids("payment") != before


def test_other_settings_do_not_touch_the_stack_that_runs(stack: LocalStack) -> None:
    other = LocalStack(stack.settings.model_copy(update={"log_level": "debug"}))
    owner = rf"A stack already runs in .* \(supervisor: pid {stack.control.pid()}\), with another log_level"
    with pytest.raises(StackError, match=owner):
        other.up()


def test_a_second_command_at_the_same_time_is_refused_with_the_first_ones_pid(stack: LocalStack) -> None:
    with stack.state.lock("scale"), pytest.raises(StackError, match=rf"'scale' \(pid {os.getpid()}\) is at work"):
        stack.up()


def test_log_lines_are_found_by_their_trace(stack: LocalStack) -> None:
    found = logs.recent(stack.state.logs, "order", "abc", 5)
    assert found
    assert all(line.fields["trace_id"] == "abc" for line in found)
    assert logs.recent(stack.state.logs, "order", "no-such-trace", 5) == []
