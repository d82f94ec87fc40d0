"""Whether something is known against a locked distribution: pip-audit, over every lock.

pip-audit says "no known vulnerabilities" also when nothing could be asked, and leaves out what its service does not
know. Here, what was not asked is said, and nobody is told that all is well.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.supply.locks import Pin, rounds

SECONDS = 300
"""For all that one list asks."""

Ask = Callable[[Path], tuple[int, str, str]]
"""Runs pip-audit over a requirements file: exit code, stdout, stderr."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A vulnerability: of what, under which names, and the versions that do not have it."""

    name: str
    version: str
    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        mended = f"mended in {', '.join(self.fixed_in)}" if self.fixed_in else "not mended yet"
        return f"{self.name} {self.version}: {', '.join(self.ids)} ({mended})"


@dataclass(frozen=True, slots=True)
class Report:
    """What was found; `asked` is how many distributions the service knew, `unanswered` names the others and why."""

    findings: tuple[Finding, ...]
    asked: int
    unanswered: tuple[str, ...]

    @property
    def reached(self) -> bool:
        """Whether the service told anything at all."""
        return self.asked > 0


def look(ask: Ask | None = None, lists: Sequence[Sequence[Pin]] | None = None) -> Report:
    """Ask about every pin of every lock."""
    findings: list[Finding] = []
    asked, unanswered = 0, list[str]()
    for pins in rounds() if lists is None else lists:
        with tempfile.TemporaryDirectory(prefix="pins-") as directory:
            wanted = Path(directory) / "requirements.txt"
            wanted.write_text("\n".join(pin.requirement for pin in pins), encoding="utf-8")
            code, out, said = (ask or _pip_audit)(wanted)
        answers = _answers(out)
        if answers is None:
            reason = (said.strip().splitlines() or [f"exit code {code}"])[-1]
            unanswered += [f"{pin.name} {pin.version}: {reason}" for pin in pins]
            continue
        told = {answer["name"]: answer for answer in answers if "vulns" in answer}
        reasons = {answer["name"]: answer["skip_reason"] for answer in answers if "skip_reason" in answer}
        asked += len(told)
        unanswered += [
            f"{pin.name} {pin.version}: {reasons.get(pin.name, 'left out')}" for pin in pins if pin.name not in told
        ]
        findings += [finding for answer in told.values() for finding in _findings(answer)]
    return Report(tuple(findings), asked, tuple(unanswered))


def _pip_audit(requirements: Path) -> tuple[int, str, str]:
    words = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--disable-pip", "--require-hashes"]
    words += ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        return 1, "", f"no answer within {SECONDS} s"
    return done.returncode, done.stdout, done.stderr


def _answers(out: str) -> list[dict[str, Any]] | None:
    try:
        found: list[dict[str, Any]] = json.loads(out)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    return found


def _findings(answer: dict[str, Any]) -> list[Finding]:
    return [
        Finding(
            answer["name"],
            answer["version"],
            (each["id"], *each.get("aliases", [])),
            tuple(map(str, each.get("fix_versions", []))),
        )
        for each in answer["vulns"]
    ]
