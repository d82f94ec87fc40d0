"""What the stack does when something is wrong: bad configuration, a taken port, a killed supervisor, a second stack."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import psutil
import pytest

from infra.local import processes
from infra.local.errors import StackError
from infra.local.harness import own_stack, running_stack, settings_for
from infra.local.settings import PREFIX, ROOT
from tests.fixtures.waiting import until

STANDIN = "{python} tests/fixtures/standin.py {module}"


def test_a_refused_configuration_fails_up_with_the_programs_own_words_and_is_not_restarted(tmp_path: Path) -> None:
    stack = own_stack(tmp_path / ".local", service_command=f"{STANDIN} --refuse inventory")
    try:
        with pytest.raises(StackError) as caught:
            stack.up()
        assert "inventory-1 refuses its configuration, exit code 78: DATABASE_URL: no such driver" in str(caught.value)
        (found,) = [program for program in stack.status() if program.name == "inventory-1"]
        assert (found.state, found.restarts, found.well) == ("EXITED", 0, False)
        assert found.reason == "DATABASE_URL: no such driver"
    finally:
        stack.down()


def test_a_program_that_never_becomes_ready_is_named_with_its_state_and_its_log(tmp_path: Path) -> None:
    stack = own_stack(tmp_path / ".local", service_command=f"{STANDIN} --sick order", ready_timeout=4)
    try:
        with pytest.raises(StackError) as caught:
            stack.up()
        assert "order-1 is not ready (RUNNING): HTTP 503" in str(caught.value)
        assert '"instance": "order-1"' in str(caught.value)
        assert "payment-1" not in str(caught.value)
    finally:
        stack.down()


def test_a_taken_port_stops_up_before_anything_is_started(tmp_path: Path) -> None:
    stack = own_stack(tmp_path / ".local", service_command=STANDIN)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", stack.settings.port_inventory))
        listener.listen(1)
        with pytest.raises(StackError, match=rf"Port {stack.settings.port_inventory} is taken by pid {os.getpid()}"):
            stack.up()
    assert not stack.running()
    assert processes.of_stack(stack.state) == []


def test_of_two_starts_in_one_folder_the_second_is_refused_naming_the_first_which_goes_on(tmp_path: Path) -> None:
    stack = own_stack(tmp_path / ".local", service_command=STANDIN)
    given = {f"{PREFIX}{key.upper()}": str(value) for key, value in stack.settings.model_dump().items()}

    def up() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "infra.local", "up"],
            cwd=ROOT, env=os.environ | given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    try:
        first = up()
        owner, lock = psutil.Process(first.pid), stack.state.run / "lock"
        until(lambda: lock.exists() and f"'up' (pid {first.pid})" in lock.read_text())
        owner.suspend()  # in the middle of what it does
        second = up()
        _, said = second.communicate(timeout=60)
        assert (second.returncode, f"'up' (pid {first.pid}) is at work on the stack in {stack.state.path}" in said) == (
            1,
            True,
        )
        owner.resume()
        first.communicate(timeout=120)
        assert first.returncode == 0
        assert all(program.well for program in stack.status())
    finally:
        stack.down()


def test_down_leaves_nothing_of_a_stack_whose_supervisor_was_killed(tmp_path: Path) -> None:
    with running_stack(tmp_path / ".local", service_command=STANDIN) as stack:
        supervisor = psutil.Process(stack.control.pid())
        services = [each for each in processes.of_stack(stack.state) if "standin.py" in " ".join(each.cmdline())]
        supervisor.kill()
        until(lambda: not stack.running())
        assert {each.pid for each in services} <= {each.pid for each in processes.of_stack(stack.state)}
        stack.down()
        assert processes.of_stack(stack.state) == []
        assert processes.wait_ended(services, 0) == []


def test_down_does_not_wait_for_a_process_that_a_drill_left_stopped(tmp_path: Path) -> None:
    with running_stack(tmp_path / ".local", service_command=STANDIN) as stack:
        stack.kill("payment-1", "STOP")
        began = time.monotonic()
        stack.down()
        assert time.monotonic() - began < 10  # a stop that is not answered is followed by SIGKILL after 12 s
        assert processes.of_stack(stack.state) == []


def test_up_after_the_supervisor_was_killed_replaces_what_was_left(tmp_path: Path) -> None:
    with running_stack(tmp_path / ".local", service_command=STANDIN) as stack:
        before = stack.pids("payment")["payment-1"]
        os.kill(stack.control.pid(), signal.SIGKILL)
        until(lambda: not stack.running())
        stack.up()
        assert stack.pids("payment")["payment-1"] != before
        assert all(program.well for program in stack.status())


def test_two_stacks_in_two_folders_do_not_know_each_other(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 30) / ".local"
    with running_stack(deep, service_command=STANDIN) as first:
        with running_stack(tmp_path / "second", service_command=STANDIN) as second:
            assert first.url("order") != second.url("order")
            assert first.secret("operator", "admin_token") != second.secret("operator", "admin_token")
        assert all(program.well for program in first.status())
        assert processes.of_stack(second.state) == []


def test_reset_deletes_data_secrets_and_logs_and_nothing_else(tmp_path: Path) -> None:
    with running_stack(tmp_path / ".local", service_command=STANDIN) as stack:
        (stack.state.path / "tools").mkdir()
        token = stack.secret("operator", "admin_token")
        assert {path.name for path in stack.reset()} == {"data", "secrets", "logs"}
        assert processes.of_stack(stack.state) == []
        assert (stack.state.path / "tools").exists()
        stack.up()
        assert stack.secret("operator", "admin_token") != token


def test_a_stack_on_its_own_postgres_has_a_database_a_service_behind_a_password(passable_directory: Path) -> None:
    async def query(url: str, statement: str) -> object:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""), timeout=5)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    with running_stack(passable_directory / ".local", service_command=STANDIN, database="postgres") as stack:
        url = stack.database_url("order")
        assert (stack.state.secrets / "order" / "database_url").read_text() == url
        assert asyncio.run(query(url, "SELECT current_user || '@' || current_database()")) == "order@order"
        with pytest.raises(asyncpg.InvalidPasswordError):
            asyncio.run(query(url.replace(url.split(":")[2].split("@")[0], "guess"), "SELECT 1"))
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            asyncio.run(query(url.removesuffix("/order") + "/payment", "SELECT 1"))
        before = stack.pids("postgres")["postgres"]
        stack.kill("postgres")
        until(lambda: stack.pids("postgres").get("postgres", before) != before)
        stack.wait_ready("postgres")
        assert asyncio.run(query(url, "SELECT 1")) == 1


def test_the_commands_say_what_to_do_next_and_tell_scripts_how_it_went(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / ".local", service_command=STANDIN)
    given = {f"{PREFIX}{key.upper()}": str(value) for key, value in settings.model_dump().items()}

    def local(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "infra.local", *words],
            cwd=ROOT, env=os.environ | given | more, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    try:
        up = local("up", "--owner", str(os.getpid()))
        assert up.returncode == 0, up.stderr
        assert f"curl -sS -X POST http://localhost:{settings.port}/orders" in up.stdout
        assert '"payment_method": {"type": "card", "number": "4242424242424242"}' in up.stdout
        assert local("status").returncode == 0
        assert local("kill", "payment-1").stdout == "payment-1: SIGKILL\n"
        wrong = local("status", HOLDFAST_PORT="high")
        assert (wrong.returncode, wrong.stderr.startswith("HOLDFAST_PORT: ")) == (78, True)
        moved = local("up", HOLDFAST_NATS_PORT=str(settings.postgres_port))
        assert (moved.returncode, "another nats_port" in moved.stderr) == (1, True)
        # What runs is asked by the settings that it was started with, not by those of the moment.
        environment = local("env", HOLDFAST_PORT="9").stdout
        assert f"export ORDER_URL=http://127.0.0.1:{settings.port}\n" in environment
        assert settings.state.joinpath("secrets/operator/admin_token").read_text() not in environment
    finally:
        down = local("down")
    assert down.stdout.endswith("The stack is down.\n")
    assert local("status").returncode == 3
