"""The container engine and its compose command, as programs on PATH."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ANSWER_SECONDS = 3.0
_REGISTRY_SECONDS = 10.0
_COMMAND_SECONDS = 60.0


class EngineError(Exception):
    """A command of the engine failed; the message is what it said last.

    Args:
        written: what it had written to stdout.
        lines: the last of both streams.
    """

    def __init__(self, message: str, written: str = "", lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.written = written
        self.lines = lines


@dataclass(frozen=True, slots=True)
class Engine:
    """A docker (or something that answers to its name) and a compose command.

    Args:
        compose: the words that compose is called with: `docker compose`, or `docker-compose`.
        environ: what every command inherits.
    """

    compose: tuple[str, ...]
    environ: Mapping[str, str]

    def run(self, *words: str, seconds: float = _COMMAND_SECONDS) -> str:
        """Run `docker WORDS` and return what it wrote.

        Raises:
            EngineError: it failed, or took longer than `seconds`.
        """
        return output(("docker", *words), self.environ, seconds)

    def inspect(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """What the engine knows about containers."""
        found: list[dict[str, Any]] = json.loads(self.run("inspect", *names)) if names else []
        return found

    def has_image(self, image: str) -> bool:
        """The image is here."""
        try:
            self.run("image", "inspect", "--format", "{{.Id}}", image)
        except EngineError:
            return False
        return True

    def could_pull(self, image: str) -> str:
        """Ask the image's registry for it, without fetching it; empty when it has it, else why not."""
        try:
            self.run("manifest", "inspect", image, seconds=_REGISTRY_SECONDS)
        except EngineError as error:
            return str(error)
        return ""


def find(environ: Mapping[str, str] = os.environ) -> tuple[Engine | None, str]:
    """The engine that answers, or None and why there is none."""
    path = environ.get("PATH", "")
    if not shutil.which("docker", path=path):
        return None, "no container engine is installed"
    try:
        output(("docker", "info", "--format", "{{.ServerVersion}}"), environ, _ANSWER_SECONDS)
    except EngineError as error:
        return None, f"no container engine answers ({error})"
    for words in (("docker", "compose"), ("docker-compose",)):
        try:
            output((*words, "version"), environ, _COMMAND_SECONDS)
        except EngineError:
            continue
        return Engine(words, environ), ""
    return None, "the container engine has no compose command (docker compose, or docker-compose)"


def output(words: Sequence[str], environ: Mapping[str, str], seconds: float) -> str:
    """What a command writes to stdout.

    Raises:
        EngineError: it is not there, failed, or took too long.
    """
    try:
        done = subprocess.run(  # noqa: S603 - words of ours, no shell
            list(words),
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise EngineError(f"{words[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise EngineError(f"no answer within {seconds:.0f} s") from None
    if done.returncode:
        everything = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        # docker's last line may only say where its help is.
        said = [line for line in everything if line.strip() and not line.startswith(("Run 'docker", "See 'docker"))]
        last = [line for stream in (done.stdout, done.stderr) for line in stream.strip().splitlines()[-4:]]
        raise EngineError((said or everything)[-1][:300], done.stdout, last)
    return done.stdout
