"""The auditor as a process of its own, for targets whose databases can be reached from here."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from chaos.targets.target import TargetError

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 60.0


def run_auditor(
    environment: Mapping[str, str], answers: Path | None, report: Path, *, settled: bool
) -> tuple[int, str]:
    """Run it with these variables beside our own; its exit code and what it said.

    Addresses of databases may hold passwords: they come as variables, which no other user can read, not as words.

    Raises:
        TargetError: it took more than a minute.
    """
    words = [sys.executable, "-m", "infra.audit", "--json", str(report)]
    words += ["--answers", str(answers)] if answers else []
    words += ["--settled"] if settled else []
    try:
        done = subprocess.run(  # noqa: S603 - our own module with our own words
            words, env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(f"the auditor took more than {_SECONDS:.0f} s") from error
    return done.returncode, done.stdout + done.stderr
