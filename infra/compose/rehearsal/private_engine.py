"""An engine of the rehearsal's own, where none answers: Debian's dockerd, in a directory that is removed afterwards."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from infra.compose.engine import Engine, EngineError, find

_START_SECONDS = 60.0
_STOP_SECONDS = 60.0


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """The engine that answers, or one that is started for the length of the block.

    Raises:
        EngineError: there is none, and none can be started; the message says what is missing.
    """
    found, why_not = find()
    if found is not None:
        yield found
        return
    missing = [name for name in ("dockerd", "containerd", "docker", "iptables") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        lacks = f"{', '.join(missing)} not installed" if missing else "only root can start one"
        raise EngineError(
            f"{why_not}; {lacks} (on Debian: apt-get install docker.io docker-compose debootstrap iptables)"
        )
    directory = Path(tempfile.mkdtemp(prefix="holdfast-engine-"))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(_words(directory), stdout=log, stderr=log, start_new_session=True)  # noqa: S603 - ours
    try:
        yield _wait(directory, process)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _words(directory: Path) -> list[str]:
    return [
        # What it mounts is gone when it ends, so that its directory can be removed.
        *("unshare", "--mount", "dockerd"),
        # Compose makes networks of its own; the common bridge would stay behind.
        "--bridge=none",
        f"--data-root={directory / 'data'}",
        f"--exec-root={directory / 'exec'}",
        f"--pidfile={directory / 'pid'}",
        f"--host=unix://{directory / 'socket'}",
    ]


def _wait(directory: Path, process: "subprocess.Popen[bytes]") -> Engine:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found, why_not = find(os.environ | {"DOCKER_HOST": f"unix://{directory / 'socket'}"})
        if found is not None:
            return found
        if "compose" in why_not:
            raise EngineError(why_not)
        time.sleep(0.5)
    said = (directory / "log").read_text(encoding="utf-8", errors="replace").splitlines()
    raise EngineError(f"dockerd does not come up: {' '.join(said[-2:])}")
