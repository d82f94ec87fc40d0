"""Lab 11: a game day that finds a weakness, which is mended, and the same experiment again."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.local.settings import ROOT
from workshop import policies
from workshop.lab import Lab, Note
from workshop.platform import Platform, Trouble

_LEAST_PASSED, _RUN_SECONDS, _TRIES = 3, 300.0, 3
_PASS, _FAIL = 0, 1
_SHORT = ("--fault-seconds", "8", "--warm-up-seconds", "3")
_NEVER_OPENS = policies.BREAKER_WINDOW.replace("40", "4000").replace("10", "1000")


def _begin(at: Platform) -> None:
    at.use_policy(policies.changed((policies.BREAKER_WINDOW, _NEVER_OPENS)))


def _check(at: Platform, note: Note, _answer: str) -> str:
    return judged(verdicts(at.stack.state.path / "chaos", note.began))


def verdicts(directory: Path, began: float) -> list[Mapping[str, Any]]:
    """Of the experiments that began after that moment (Unix seconds), in their order."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in directory.glob("*/verdict.json")]
    return sorted((each for each in found if (each["began"] or 0) >= began), key=lambda each: each["began"])


def judged(found: Sequence[Mapping[str, Any]]) -> str:
    """What a game day came to. Raises `NotYet`."""
    labels: dict[str, list[str]] = {}
    for each in found:
        labels.setdefault(each["scenario"], []).append(each["verdict"])
    if "PASS" not in labels.get("control", []):
        raise LAB.not_yet(
            "The control experiment has not passed: what finds something there finds it everywhere.", "control"
        )
    failed = [name for name, each in labels.items() if "FAIL" in each]
    if not failed:
        raise LAB.not_yet(f"{len(found)} experiments, and none has failed: there is a weakness to find.", "find-it")
    mended = [name for name in failed if "PASS" in labels[name][labels[name].index("FAIL") :]]
    if not mended:
        raise LAB.not_yet(f"{failed[0]} has failed, and has not passed since.", "mend-it")
    passed = [name for name, each in labels.items() if each[-1] == "PASS"]
    if len(passed) < _LEAST_PASSED:
        raise LAB.not_yet(f"{len(passed)} scenarios have passed in the end; a game day has {_LEAST_PASSED}.", "find-it")
    return f"{mended[0]} failed, was mended and passed; {len(passed)} scenarios pass: {', '.join(passed)}."


def _see(at: Platform, _note: Note) -> None:
    for scenario in ("control", "payment-down"):
        _run(at, scenario)


def _mend(at: Platform, _note: Note) -> str:
    at.use_policy(policies.trees())
    for scenario in ("payment-down", "payment-errors"):
        _run(at, scenario)
    return ""


def _run(at: Platform, scenario: str) -> None:
    """One experiment, again while it says nothing: on a busy machine a fault may not bite."""
    words = [sys.executable, "-m", "chaos", "run", scenario, *_SHORT]
    for _ in range(_TRIES):
        try:
            done = subprocess.run(  # noqa: S603 - our own module
                words, cwd=ROOT, env=at.environment(), capture_output=True, text=True, timeout=_RUN_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Trouble(f"{scenario} took more than {_RUN_SECONDS:.0f} s.") from error
        if done.returncode in (_PASS, _FAIL) and done.stdout.strip():
            return
    raise Trouble(f"{scenario} says nothing: {(done.stdout or done.stderr).strip()[-300:]}")


LAB = Lab(
    number=11,
    title="A game day",
    page="11-game-day.md",
    minutes=40,
    scene="Somebody has changed one number in .local/workshop/resilience.yaml. Which? An experiment will say.",
    hints=(
        'make gameday SCENARIOS="control payment-down": one of them fails, and says which expectation was not met.',
        "The breaker did not open. When may it? sliding_window_size, minimum_number_of_calls.",
        "40 and 10, as in services/order/resilience.yaml; then payment-down again, and a third one.",
    ),
    begin=_begin,
    check=_check,
    see=_see,
    mend=_mend,
)
