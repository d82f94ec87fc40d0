"""The few commands of a container engine that experiments need, by its command line."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from chaos.targets.target import TargetError

_SECONDS = 30.0


class Docker:
    """`docker`, or `podman` where that is all there is. Raises `TargetError`."""

    def __init__(self) -> None:
        found = next((path for name in ("docker", "podman") if (path := shutil.which(name))), None)
        if found is None:
            raise TargetError("Neither docker nor podman is on PATH: CHAOS_TARGET=compose needs one.")
        self.command = found

    def containers(self, project: str) -> list[dict[str, Any]]:
        """What `inspect` says of every container of a compose project, those that have stopped too."""
        label = f"label=com.docker.compose.project={project}"
        found = self.run("ps", "--all", "--quiet", "--no-trunc", "--filter", label).split()
        listed: list[dict[str, Any]] = json.loads(self.run("inspect", *found)) if found else []
        return listed

    def run(self, *words: str, tolerate: Sequence[int] = ()) -> str:
        """What a command prints."""
        try:
            done = subprocess.run(  # noqa: S603 - our own words
                [self.command, *words], capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TargetError(f"{self.command} {words[0]} took more than {_SECONDS:.0f} s") from error
        if done.returncode not in (0, *tolerate):
            raise TargetError(f"{self.command} {' '.join(words[:3])}: {done.stderr.strip()[:300]}")
        return done.stdout

    def later(self, seconds: float, *words: str) -> None:
        """Run a command after so many seconds, whether or not we are still there: the end of a fault."""
        script = 'sleep "$1" && shift && exec "$@"'
        # A session of its own: neither Ctrl-C nor the end of this process reaches it.
        subprocess.Popen(  # noqa: S603 - our own words
            ["/bin/sh", "-c", script, "watchdog", f"{seconds:g}", self.command, *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
