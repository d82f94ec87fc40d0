"""One stack of containers: starts, watches, scales and ends it."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from infra.compose import containers, preparation
from infra.compose.engine import Engine, EngineError, output
from infra.envoy import topology
from infra.envoy.render import render
from infra.local.errors import StackError
from infra.local.settings import ROOT, SERVICES, LocalSettings

FILE = ROOT / "docker-compose.yml"
MEND = "Without containers: make up STACK=local"

_BUILD_SECONDS = 1_800.0
_PULL_SECONDS = 1_800.0
_UP_SECONDS = 600.0
_STOP_SECONDS = 120.0
_READY_SECONDS = 180.0
_BUILT = ("order", "payment-v1", "payment-v2", "inventory", "page", "tools")


class ComposeStack:
    """The stack of one state directory. Calls block; each is bounded in time.

    Args:
        settings: ports, replicas and where the state is.
        engine: what runs containers.
        report: told of progress, one short line at a time.
        more: variables of docker-compose.yml beside those that the settings decide: images, for example.
    """

    def __init__(
        self,
        settings: LocalSettings,
        engine: Engine,
        report: Callable[[str], None] = lambda _line: None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = settings
        self.state = preparation.state_of(settings)
        self.engine = engine
        self._report = report
        chosen = preparation.variables(settings) | preparation.profiles(settings)
        self._environ = {**engine.environ, **chosen, **(more or {})}
        self._built = (*_BUILT, *("predictor",) * preparation.predicts(settings))
        self._built += ("remediation",) * preparation.remediates(settings)

    @property
    def project(self) -> str:
        """Compose's name for this stack; it also stands in the file `project` of the state directory."""
        return preparation.project_of(self.settings)

    def prepare(self) -> None:
        """Write secrets and configuration, and make the directories that are mounted."""
        preparation.prepare(self.settings, render(topology.compose()))

    def images(self) -> dict[str, str]:
        """The image of each service, as docker-compose.yml and the environment have it."""
        file = yaml.safe_load(self._compose("config"))
        return {name: str(service["image"]) for name, service in file["services"].items()}

    def outside_images(self) -> list[str]:
        """The images that a registry has to give: all but our own."""
        return sorted({image for name, image in self.images().items() if name not in self._built})

    def up(self, services: Sequence[str] = (), *, build: bool = True) -> None:
        """Start what is missing, all or some services with what these need, and wait until it is healthy.

        Raises:
            StackError: images cannot be had or built, or a container does not become healthy; with its last log lines.
        """
        with self.state.lock("up"):
            self.prepare()
            if build:
                self._pull()
                self._build()
            self._report("starting containers; each waits for the ones that it needs")
            scales = [word for service in SERVICES for word in self._scale_words(service.name, services)]
            try:
                self._compose("up", "--detach", "--no-build", *scales, *services, seconds=_UP_SECONDS)
            except EngineError as error:
                raise StackError(f"{error}\n{self._explain(self._troubles())}".strip(), self._logs_mend()) from error
            self._wait(())

    def down(self) -> None:
        """Stop and remove the containers; data and secrets stay."""
        with self.state.lock("down"):
            self._down()

    def reset(self) -> list[Path]:
        """Stop everything, and delete data and secrets. Returns what was deleted."""
        gone = [path for path in (self.state.data, self.state.secrets) if path.exists()]
        with self.state.lock("reset"):
            self._down()
            for path in gone:
                shutil.rmtree(path)
        return gone

    def status(self) -> list[containers.Container]:
        """Every container; empty when the stack is down."""
        return containers.listed(self.engine, self.project)

    def scale(self, service: str, replicas: int) -> None:
        """Run so many replicas of a service, and wait until they are healthy.

        Raises:
            StackError: they are not.
        """
        name = self.service(service)
        with self.state.lock("scale"):
            self._told("up", "--detach", "--no-build", "--no-deps", "--scale", f"{name}={replicas}", name)
            if replicas:
                self._wait((name,))

    def restart(self, service: str) -> None:
        """Restart the containers of a service, and wait until they are healthy."""
        name = self.service(service)
        with self.state.lock("restart"):
            self._told("restart", name)
            self._wait((name,))

    def stop(self, *services: str) -> None:
        """Stop the containers of services, and leave them stopped."""
        self._told("stop", *(self.service(each) for each in services), seconds=_STOP_SECONDS)

    def start(self, *services: str) -> None:
        """Start the containers of services again, and wait until they are healthy."""
        names = [self.service(each) for each in services]
        self._told("start", *names)
        self._wait(names)

    def kill(self, service: str, signal: str = "KILL") -> list[str]:
        """Send a signal to every process of a service's containers but the first, which ends with them.

        So the engine sees a crash and starts the container again; `docker kill` would count as a wish to stop it.
        """
        name = self.service(service)
        struck = [each for each in self.status() if each.service == name and each.state == "running"]
        if not struck:
            raise StackError(f"{service} does not run.", "Is it up? make status")
        for each in struck:
            with contextlib.suppress(EngineError):  # the shell that sends the signal may be struck too
                self.engine.run("exec", each.identity, "/bin/sh", "-c", f"kill -{signal.removeprefix('SIG')} -1")
        return [each.name for each in struck]

    def log_lines(self, *services: str) -> list[str]:
        """Everything that the containers have logged and the engine has kept, each line after its container's name."""
        return self._compose("logs", "--no-color", *services).splitlines()

    def tool(self, *words: str, seconds: float = 300.0) -> str:
        """Run `python3 WORDS` in a container of the operator's tools, and return what it wrote.

        Raises:
            EngineError: it failed.
        """
        return self._compose("run", "--rm", "--no-deps", "-T", "tools", *words, seconds=seconds)

    def hand_over(self, *words: str) -> int:
        """Run compose in sight of the user, until it ends."""
        try:
            return subprocess.run(self._words(words), env=self._environ, check=False).returncode  # noqa: S603 - no shell
        except KeyboardInterrupt:
            return 0

    def service(self, name: str) -> str:
        """Compose's name of a service: its first version is called `payment` elsewhere.

        Raises:
            StackError: there is none of that name.
        """
        known = self.images()
        chosen = "payment-v1" if name == "payment" else name
        if chosen not in known:
            raise StackError(f"No service is called {name!r}.", f"There are: {', '.join(sorted(known))}.")
        return chosen

    def _scale_words(self, service: str, only: Sequence[str]) -> list[str]:
        name = "payment-v1" if service == "payment" else service
        replicas = next(self.settings.replicas(each) for each in SERVICES if each.name == service)
        return ["--scale", f"{name}={replicas}"] if replicas != 1 or name in only else []

    def _build(self) -> None:
        self._report("building the images of the services")
        try:
            self._compose("build", *self._built, seconds=_BUILD_SECONDS)
        except EngineError as error:
            last = "\n".join(f"    {line}" for line in error.lines)
            raise StackError(f"The images cannot be built: {error}\n{last}", MEND) from error

    def _pull(self) -> None:
        for image in self.outside_images():
            if self.engine.has_image(image):
                continue
            self._report(f"fetching {image}")
            try:
                self.engine.run("pull", "--quiet", image, seconds=_PULL_SECONDS)
            except EngineError as error:
                raise StackError(f"The image {image} cannot be had: {error}", MEND) from error

    def _down(self) -> None:
        self._told("down", "--remove-orphans", "--timeout", "30", seconds=_STOP_SECONDS)

    def _wait(self, services: Sequence[str]) -> None:
        troubles = containers.wait_until_well(
            self.engine,
            self.project,
            services,
            seconds=_READY_SECONDS,
            ready=lambda name: self._report(f"{name}: ready"),
        )
        if troubles:
            raise StackError(self._explain(troubles), self._logs_mend())

    def _troubles(self) -> dict[str, str]:
        return {each.service: each.trouble for each in self.status() if each.trouble}

    def _explain(self, troubles: Mapping[str, str]) -> str:
        parts = []
        for name, reason in troubles.items():
            lines = ""
            with contextlib.suppress(EngineError):
                lines = self._compose("logs", "--no-color", "--tail", "8", name)
            parts.append(f"{name} is not healthy: {reason}\n{lines.strip()}")
        return "\n".join(parts)

    def _logs_mend(self) -> str:
        return f"All of its log: make logs SERVICE=<name>. {MEND}"

    def _told(self, *words: str, seconds: float = _UP_SECONDS) -> None:
        try:
            self._compose(*words, seconds=seconds)
        except EngineError as error:
            raise StackError(f"compose {words[0]}: {error}") from error

    def _compose(self, *words: str, seconds: float = 60.0) -> str:
        return output(self._words(words), self._environ, seconds)

    def _words(self, words: Sequence[str]) -> list[str]:
        return [*self.engine.compose, "--project-name", self.project, "--file", str(FILE), *words]
