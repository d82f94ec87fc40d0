"""A platform of real processes, on free ports and in a directory of its own."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.harness import running_stack
from infra.local.stack import LocalStack


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A platform that tests share: they may load it, but leave every process running."""
    with running_stack(tmp_path_factory.mktemp("platform") / ".local") as stack:
        yield stack


@pytest.fixture(scope="module")
def passable_directory() -> Iterator[Path]:
    """A directory that others may pass: root's Postgres runs as another user, and pytest shuts its own directories."""
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


def audit(stack: LocalStack, *, answers: Path | None = None, settled: bool = True) -> None:
    """Fail with the auditor's report unless it finds nothing wrong."""
    command = [sys.executable, "-m", "infra.audit"]
    for service in ("order", "payment", "inventory"):
        command += [f"--{service}", stack.database_url(service)]
    command += ["--settled"] if settled else []
    command += ["--answers", str(answers)] if answers else []
    report = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert report.returncode == 0, report.stdout + report.stderr
