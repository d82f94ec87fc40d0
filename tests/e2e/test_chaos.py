"""Experiments against a real platform: the runner says yes, no, and "I cannot tell", each when it should."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from chaos import definition
from infra.local.faults import StackFaults
from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from tests.fixtures.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RUN_SECONDS = 150.0
SHORT = ["--warm-up-seconds", "2", "--orders-per-second", "5"]


@dataclass
class Outcome:
    """What one run left behind."""

    code: int
    said: str
    verdict: dict[str, Any]
    directory: Path


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    directory = tmp_path_factory.mktemp("chaos") / ".local"
    with running_stack(directory, prometheus="on", scrape_seconds=1) as stack:
        if not stack.running_program("prometheus"):
            pytest.skip("there is no Prometheus here")
        yield stack


def scenario(folder: Path, name: str, change: Callable[[dict[str, Any]], None] = lambda _extension: None) -> Path:
    """A copy of an experiment, with bounds on time that a busy machine keeps; `change` gets its extension."""
    experiment = definition.load(name)
    for probe in experiment["steady-state-hypothesis"]["probes"]:
        if probe["provider"].get("func") == "are_served_within":
            probe["provider"]["arguments"] |= {"seconds": 30, "p99_at_most": 6}
    extension = experiment["extensions"][0]
    for check in extension["expect"]:
        if "latency" in check:
            check["at_most"] *= 6
    extension["abort"] = {"success_below": 0.3, "p99_above_seconds": 14}
    extension["recovery"] = {"within_seconds": 60, "p99_at_most_seconds": 6}
    change(extension)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(experiment))
    return folder


def begin(stack: LocalStack, name: str, folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = os.environ | {"HOLDFAST_STATE_DIR": str(stack.state.path)}
    command = [sys.executable, "-m", "chaos", "run", name, "--folder", str(folder), *SHORT, *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(stack: LocalStack, name: str, folder: Path, *options: str) -> Outcome:
    return outcome(stack, begin(stack, name, folder, *options))


def outcome(stack: LocalStack, process: subprocess.Popen[str]) -> Outcome:
    said, _ = process.communicate(timeout=RUN_SECONDS)
    newest = max((stack.state.path / "chaos").glob("*/verdict.json"), key=lambda path: path.stat().st_mtime)
    return Outcome(process.returncode, said, json.loads(newest.read_text()), newest.parent)


def breaker(stack: LocalStack, to: str) -> None:
    token = stack.secret("operator", "admin_token")
    answer = httpx.post(
        f"{stack.url('order-1')}/admin/resilience/breakers/payment",
        json={"to": to}, headers={"authorization": f"Bearer {token}"}, timeout=10,
    )  # fmt: skip
    assert answer.is_success, answer.text


def test_where_nothing_is_broken_nothing_is_found(stack: LocalStack, tmp_path: Path) -> None:
    found = run(stack, "control", scenario(tmp_path, "control"), "--fault-seconds", "4")
    assert (found.code, found.verdict["verdict"]) == (0, "PASS"), found.said
    assert {path.name for path in found.directory.iterdir()} >= {
        "verdict.json", "journal.json", "report.html", "report.md", "answers.jsonl", "audit.json",
    }  # fmt: skip
    notes = (stack.state.path / "chaos" / "annotations.jsonl").read_text().splitlines()
    assert [json.loads(note)["tags"][1] for note in notes] == ["started", "ended"]
    wanted = {"service": "order", "tags": json.dumps({"experiment.id": found.verdict["run"]})}
    until(lambda: httpx.get(f"{stack.url('control-room')}/api/traces", params=wanted, timeout=10).json()["data"])


def test_payment_goes_and_comes_back_and_the_platform_passes(stack: LocalStack, tmp_path: Path) -> None:
    found = run(stack, "payment-down", scenario(tmp_path, "payment-down"), "--fault-seconds", "8")
    assert (found.code, found.verdict["verdict"]) == (0, "PASS"), found.said
    kinds = [mark["kind"] for mark in found.verdict["timeline"]]
    assert [kinds.index(kind) for kind in ("fault", "lift", "recovered", "audit")] == sorted(
        kinds.index(kind) for kind in ("fault", "lift", "recovered", "audit")
    )
    assert not StackFaults(stack).active()


def test_a_platform_without_its_breaker_fails_the_same_scenario(stack: LocalStack, tmp_path: Path) -> None:
    breaker(stack, "disabled")
    try:
        found = run(stack, "payment-down", scenario(tmp_path, "payment-down"), "--fault-seconds", "6")
    finally:
        breaker(stack, "closed")
    assert (found.code, found.verdict["verdict"]) == (1, "FAIL"), found.said
    assert "breaker payment becomes open" in found.verdict["reason"]


def test_a_fault_that_somebody_else_ended_at_once_proves_nothing(stack: LocalStack, tmp_path: Path) -> None:
    process = begin(stack, "payment-down", scenario(tmp_path, "payment-down"), "--fault-seconds", "6")
    until(lambda: len(StackFaults(stack).active()) == 2)
    StackFaults(stack).clear()
    found = outcome(stack, process)
    assert (found.code, found.verdict["verdict"]) == (4, "INCONCLUSIVE"), found.said
    assert "did not bite" in found.verdict["reason"]


def test_a_breach_ends_the_fault_within_two_looks_and_a_second(stack: LocalStack, tmp_path: Path) -> None:
    def strict(extension: dict[str, Any]) -> None:
        extension["abort"] = {"success_below": 0.9, "p99_above_seconds": 14, "probe_seconds": 1, "window_seconds": 3}

    found = run(stack, "inventory-down", scenario(tmp_path, "inventory-down", strict), "--fault-seconds", "30")
    assert (found.code, found.verdict["verdict"]) == (3, "ABORTED"), found.said
    assert found.verdict["figures"]["abort_seconds"] <= 2 * 1 + 1
    assert found.verdict["figures"]["fault_seconds"] < 25
    assert not StackFaults(stack).active()


def test_a_runner_that_is_killed_leaves_neither_fault_nor_load(stack: LocalStack, tmp_path: Path) -> None:
    process = begin(stack, "payment-down", scenario(tmp_path, "payment-down"), "--fault-seconds", "2")
    until(lambda: StackFaults(stack).active())
    load = psutil.Process(process.pid).children(recursive=True)
    assert any("infra.load" in " ".join(child.cmdline()) for child in load)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    until(lambda: not StackFaults(stack).active(), 60)
    until(lambda: not any(child.is_running() for child in load), 30)
    stack.wait_ready(seconds=30)
