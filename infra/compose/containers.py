"""The containers of one stack, as the engine sees them."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from infra.compose.engine import Engine

_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Container:
    """One container. `health` is empty when nothing can ask it; `published` are addresses on this machine."""

    name: str
    service: str
    identity: str
    state: str
    health: str
    exit_code: int
    restarts: int
    published: tuple[str, ...]

    @property
    def well(self) -> bool:
        """It runs, and is healthy where that can be asked."""
        return self.state == "running" and self.health in ("", "healthy")

    @property
    def trouble(self) -> str:
        """In a few words, what is wrong with it; empty when it is well."""
        if self.well:
            return ""
        if self.state != "running":
            return f"{self.state}, exit code {self.exit_code}"
        return f"runs, but is {self.health}"


def listed(engine: Engine, project: str) -> list[Container]:
    """Every container of a project, also those that have ended; what a tool left behind does not count."""
    names = engine.run(
        "ps", "--all", "--quiet", "--no-trunc",
        "--filter", f"label=com.docker.compose.project={project}",
        "--filter", "label=com.docker.compose.oneoff=False",
    ).split()  # fmt: skip
    return sorted((_container(each) for each in engine.inspect(names)), key=lambda each: each.name)


def wait_until_well(
    engine: Engine,
    project: str,
    services: Iterable[str] = (),
    *,
    seconds: float,
    ready: Callable[[str], None] = lambda _name: None,
) -> dict[str, str]:
    """Ask until every container of the services (all when none is named) is well, or until the time is up.

    Returns:
        What is not well, by service, with the reason; empty when all is.
    """
    chosen = set(services)
    told: set[str] = set()
    deadline = time.monotonic() + seconds
    while True:
        found = [each for each in listed(engine, project) if not chosen or each.service in chosen]
        for each in found:
            if each.well and each.name not in told:
                told.add(each.name)
                ready(each.service)
        troubles = {each.service: each.trouble for each in found if each.trouble}
        troubles |= dict.fromkeys(chosen - {each.service for each in found}, "not there")
        if not troubles or time.monotonic() >= deadline:
            return troubles
        time.sleep(_POLL_SECONDS)


def _container(found: dict[str, Any]) -> Container:
    state = found["State"]
    published = found["NetworkSettings"].get("Ports") or {}
    return Container(
        name=found["Name"].lstrip("/"),
        service=found["Config"]["Labels"]["com.docker.compose.service"],
        identity=found["Id"],
        state=state["Status"],
        health=state.get("Health", {}).get("Status", "").replace("none", ""),
        exit_code=state["ExitCode"],
        restarts=found["RestartCount"],
        published=tuple(f"{at['HostIp']}:{at['HostPort']}" for each in published.values() for at in each or ()),
    )
