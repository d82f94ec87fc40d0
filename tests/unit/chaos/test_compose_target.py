"""Containers as a target: what the engine is told, and that the end of a fault is on its way before the fault."""

import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from chaos.targets.compose import Compose
from chaos.targets.docker import Docker
from chaos.targets.target import TargetError
from tests.fixtures.waiting import until

ENGINE = """#!/bin/sh
echo "$@" >> "{log}"
case "$1" in
    ps) cat "{folder}/ids" ;;
    inspect) cat "{folder}/inspected.json" ;;
    broken) echo "no such thing" >&2; exit 3 ;;
esac
"""


def container(service: str, *, running: bool = True, paused: bool = False, health: str = "healthy") -> dict[str, Any]:
    return {
        "Id": f"id-{service}",
        "Config": {
            "Labels": {"com.docker.compose.service": service, "com.docker.compose.container-number": "1"}
        },
        "State": {
            "Running": running, "Paused": paused, "Pid": 42 * running, "ExitCode": 0 if running else 137,
            "Status": "running" if running else "exited", "Health": {"Status": health},
        },
        "NetworkSettings": {"Networks": {"platform": {"IPAddress": "172.20.0.5" if running else ""}}},
    }  # fmt: skip


class Engine:
    """A command that stands where `docker` does, and notes what it is told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.log = folder, folder / "log"
        self.log.touch()
        command = folder / "docker"
        command.write_text(ENGINE.format(log=self.log, folder=folder))
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        self.has(container("order"), container("payment-v1"), container("payment-v2"), container("nats"))

    def has(self, *containers: dict[str, Any]) -> None:
        (self.folder / "ids").write_text("\n".join(each["Id"] for each in containers))
        (self.folder / "inspected.json").write_text(json.dumps(containers))

    def told(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if not line.startswith(("ps", "inspect"))]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    return Engine(tmp_path, monkeypatch)


def target() -> Compose:
    return Compose(Docker(), {"COMPOSE_PROJECT_NAME": "shop"})


def test_replicas_are_asked_at_their_containers_addresses_and_both_versions_are_payment(engine: Engine) -> None:
    assert [(each.name, each.url) for each in target().replicas("payment")] == [
        ("payment-v1-1", "http://172.20.0.5:8080"),
        ("payment-v2-1", "http://172.20.0.5:8080"),
    ]
    assert "label=com.docker.compose.project=shop" in engine.log.read_text()


def test_a_pause_ends_although_nobody_ends_it(engine: Engine) -> None:
    target().pause("order-1", 0.3)
    assert "pause id-order" in engine.told()
    until(lambda: "unpause id-order" in engine.told())


def test_a_stop_is_started_again_by_its_watchdog_or_sooner_by_us(engine: Engine) -> None:
    engine.has(container("nats"))
    place = target()
    place.stop("nats-1", 30)
    assert place.faults() == ["stop nats-1"]
    engine.has(container("nats", running=False))
    began = time.monotonic()
    place.clear()
    assert engine.told()[-1] == "start id-nats"
    assert time.monotonic() - began < 10
    assert place.faults() == []


def test_a_kill_comes_from_inside_so_that_the_engine_starts_it_again(engine: Engine) -> None:
    target().kill("order-1")
    assert engine.told() == ["exec id-order sh -c kill -KILL -1"]


def test_a_container_that_is_sick_or_gone_makes_the_platform_unwell(engine: Engine) -> None:
    engine.has(container("order", health="unhealthy"), container("nats", running=False), container("payment-v1"))
    assert target().unwell() == ["order-1: running, unhealthy", "nats-1: exited, healthy"]


def test_states_are_those_that_a_recording_knows(engine: Engine) -> None:
    engine.has(container("order", paused=True), container("nats", running=False), container("inventory"))
    assert [(each.name, each.state) for each in target().programs()] == [
        ("order-1", "paused"),
        ("nats-1", "down"),
        ("inventory-1", "running"),
    ]


def test_a_command_that_fails_says_why(engine: Engine) -> None:
    with pytest.raises(TargetError, match="no such thing"):
        Docker().run("broken")


def test_a_project_without_containers_is_refused(engine: Engine) -> None:
    engine.has()
    with pytest.raises(TargetError, match="make up STACK=compose"):
        target()
