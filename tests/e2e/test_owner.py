"""A stack that a test, a bench or a campaign has started does not outlive it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.local import owner, processes
from infra.local.errors import StackError
from infra.local.settings import ROOT
from infra.local.state import MARKER, StateDirectory
from tests.fixtures.waiting import until

_SECONDS = 10.0
_OWNS_A_STACK = """
import sys, time
from pathlib import Path
from infra.local.harness import running_stack

with running_stack(Path(sys.argv[1]), service_command="{python} tests/fixtures/standin.py {module}") as stack:
    if sys.argv[2] == "unwatched":
        stack.kill("payment-1", "STOP")
        import psutil
        psutil.Process(stack.control.pid()).kill()
    print("up", flush=True)
    time.sleep(600)
"""


@contextmanager
def _owning(directory: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", _OWNS_A_STACK, str(directory), how]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()


def _ended_with(process: subprocess.Popen[str], state: StateDirectory) -> None:
    found = processes.of_stack(state)
    assert any("standin.py" in " ".join(each.cmdline()) for each in found)
    process.kill()
    process.wait()
    began = time.monotonic()
    assert processes.wait_ended(found, 60.0) == []
    until(lambda: not processes.of_stack(state))
    assert time.monotonic() - began < _SECONDS


def test_a_stack_ends_within_seconds_when_its_owner_is_killed(tmp_path: Path) -> None:
    with _owning(tmp_path / ".local", "well") as process:
        _ended_with(process, StateDirectory(tmp_path / ".local"))


def test_a_killed_owner_leaves_no_stopped_process_and_none_whose_supervisor_was_killed_before(tmp_path: Path) -> None:
    with _owning(tmp_path / ".local", "unwatched") as process:
        _ended_with(process, StateDirectory(tmp_path / ".local"))


def test_what_carries_the_mark_ends_with_its_owner_and_what_does_not_lives_on(tmp_path: Path) -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    with (
        subprocess.Popen(sleep) as anybody,
        subprocess.Popen(sleep, env={MARKER: str(tmp_path)}) as marked,
        subprocess.Popen(sleep) as owning,
    ):
        try:
            owner.watch(owning.pid, StateDirectory(tmp_path))
            owning.kill()
            marked.wait(_SECONDS)
            assert anybody.poll() is None
        finally:
            for each in (anybody, marked, owning):
                each.kill()


def test_an_owner_that_is_gone_is_no_owner(tmp_path: Path) -> None:
    beyond = 2**22 + 1  # the kernel gives out no higher number than 2**22
    with pytest.raises(StackError, match=f"process {beyond}: No such process"):
        owner.watch(beyond, StateDirectory(tmp_path))
