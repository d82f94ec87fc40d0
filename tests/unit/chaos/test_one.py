"""One experiment at a time, and a way to end it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaos.runner.one import alone, stop_running
from chaos.targets.target import TargetError
from tests.fixtures.waiting import until

HOLDS = """
import signal, sys, time
from pathlib import Path
from types import SimpleNamespace
from chaos.runner.one import alone
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
with alone(SimpleNamespace(runs=Path(sys.argv[1])), "payment-down"):
    Path(sys.argv[1], "held").touch()
    time.sleep(60)
"""


def place(runs: Path) -> Any:
    return SimpleNamespace(runs=runs)


def test_a_second_experiment_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    refused = pytest.raises(TargetError, match="payment-down is under way")
    with alone(place(tmp_path), "payment-down"), refused, alone(place(tmp_path), "control"):
        pass
    with alone(place(tmp_path), "control"):
        pass


def test_the_experiment_of_another_process_is_ended_and_named(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)])
    until((tmp_path / "held").exists)
    assert stop_running(place(tmp_path)) == "payment-down"
    assert process.poll() is not None
    assert stop_running(place(tmp_path)) == ""


def test_a_process_that_only_has_the_same_number_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "running.json").write_text(f'{{"what": "control", "pid": {os.getpid()}, "created": 1.0}}')
    before = signal.getsignal(signal.SIGTERM)
    assert stop_running(place(tmp_path)) == ""
    assert signal.getsignal(signal.SIGTERM) is before
