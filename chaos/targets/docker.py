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
        """What `inspect` says of every container of a compose project, those that have stopped too, but no tool's."""
        labels = (f"label=com.docker.compose.project={project}", "label=com.docker.compose.oneoff=False")
        filters = [word for label in labels for word in ("--filter", label)]
        found = self.run("ps", "--all", "--quiet", "--no-trunc", *filters).split()
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

    def container(self, identity: str) -> dict[str, Any] | None:
        """What `inspect` says of one container; None when it is gone."""
        if not self.run("ps", "--all", "--quiet", "--filter", f"id={identity}").strip():
            return None
        found: list[dict[str, Any]] = json.loads(self.run("inspect", identity))
        return found[0]
