"""Containers as a target: what the engine is told, and that the end of a fault is on its way before the fault."""

import json
import os
import socket
import socketserver
import stat
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from chaos.__main__ import main
from chaos.targets import PLACES, place
from chaos.targets.compose import Compose
from chaos.targets.docker import Docker
from chaos.targets.target import TargetError
from infra.compose import preparation
from infra.local import sources
from infra.local.leases import STOP, Lease, Leases
from tests.fixtures.waiting import until

ENGINE = """#!/bin/sh
echo "$@" >> "{log}"
case "$1" in
    ps) cat "{folder}/ids" ;;
    inspect) if [ $# = 2 ]; then cat "{folder}/$2.json"; else cat "{folder}/inspected.json"; fi ;;
    compose) for file in {shared}/*/answers.jsonl; do . "{folder}/compose"; done ;;
    broken) echo "no such thing" >&2; exit 3 ;;
esac
[ ! -e "{folder}/refuses-$1" ] || {{ echo "cannot $1" >&2; exit 1; }}
"""


def container(
    service: str, *, running: bool = True, paused: bool = False, restarting: bool = False, health: str = "healthy"
) -> dict[str, Any]:
    published = {"envoy": ("8080", "18080"), "prometheus": ("9090", "19090")}.get(service)
    return {
        "Id": f"id-{service}",
        "Config": {
            "Labels": {"com.docker.compose.service": service, "com.docker.compose.container-number": "1"}
        },
        "State": {
            "Running": running, "Paused": paused, "Restarting": restarting, "Pid": 42 * running,
            "ExitCode": 0 if running else 137, "Status": "running" if running else "exited",
            "Health": {"Status": health},
        },
        "HostConfig": {"PortBindings": {f"{published[0]}/tcp": [{"HostPort": published[1]}]} if published else {}},
        "NetworkSettings": {"Networks": {"platform": {"IPAddress": "172.20.0.5" if running else ""}}},
    }  # fmt: skip


class Engine:
    """A command that stands where `docker` does, and notes what it is told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.log = folder, folder / "log"
        monkeypatch.setenv("HOLDFAST_STATE_DIR", str(folder / "state"))
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        self.settings = sources.load()
        self.shared = preparation.audit_directory(self.settings)
        self.shared.mkdir(parents=True)
        self.log.touch()
        command = folder / "docker"
        command.write_text(ENGINE.format(log=self.log, folder=folder, shared=self.shared))
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        self.has(container("order"), container("payment-v1"), container("payment-v2"), container("nats"))

    def has(self, *containers: dict[str, Any]) -> None:
        (self.folder / "ids").write_text("\n".join(each["Id"] for each in containers))
        (self.folder / "inspected.json").write_text(json.dumps(containers))
        for each in containers:
            (self.folder / f"{each['Id']}.json").write_text(json.dumps([each]))

    def told(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if not line.startswith(("ps", "inspect"))]

    def leases(self) -> list[Lease]:
        return Leases(preparation.state_of(self.settings).faults).all()


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    return Engine(tmp_path, monkeypatch)


class Admin(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Envoy's administration as far as its runtime goes."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.runtime: dict[str, str] = {}
        # As long as paths are, this one fits.
        descriptor = os.open(path.parent, os.O_PATH)
        super().__init__(f"/proc/self/fd/{descriptor}/{path.name}", _Answer)
        os.close(descriptor)


class _Answer(BaseHTTPRequestHandler):
    server: Admin

    def do_POST(self) -> None:
        entries = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        self.server.runtime |= entries
        self.server.runtime = {key: value for key, value in self.server.runtime.items() if value}
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...
    def address_string(self) -> str:
        return "unix"


@pytest.fixture
def envoy(engine: Engine) -> Iterator[Admin]:
    """At a path that is too long for the address of a socket."""
    deep = engine.folder / ("d" * 90)
    preparation.admin_socket(engine.settings).parent.symlink_to(deep)
    deep.mkdir()
    engine.has(container("envoy"), container("prometheus"))
    with Admin(deep / "admin.sock") as server:
        assert server.socket.family == socket.AF_UNIX
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def target() -> Compose:
    return Compose(Docker(), project="shop")


def test_programs_are_called_as_in_the_local_stack_and_both_versions_are_payment(engine: Engine) -> None:
    assert [(each.name, each.url) for each in target().replicas("payment")] == [
        ("payment-1", "http://172.20.0.5:8080"),
        ("payment-v2-1", "http://172.20.0.5:8080"),
    ]
    assert [each.name for each in target().programs()] == ["order-1", "payment-1", "payment-v2-1", "nats"]
    assert "label=com.docker.compose.project=shop" in engine.log.read_text()


def test_addresses_are_where_the_containers_publish_them_also_while_they_are_down(engine: Engine) -> None:
    engine.has(container("envoy"), container("prometheus", running=False), container("inventory"))
    found = target().addresses
    assert (found.edge, found.prometheus) == ("http://127.0.0.1:18080", "http://127.0.0.1:19090")
    assert found.inventory == "http://172.20.0.5:8080"


def test_telemetry_is_what_takes_spans_and_metrics_in_here(engine: Engine) -> None:
    engine.has(container("order"), container("jaeger"), container("prometheus"))
    assert target().role("telemetry") == ["jaeger", "prometheus"]
    assert not target().role("order")


def test_a_pause_ends_although_nobody_ends_it(engine: Engine) -> None:
    engine.has(container("order", paused=True))
    target().pause("order-1", 0.3)
    assert "pause id-order" in engine.told()
    until(lambda: not engine.leases())
    assert engine.told()[-1] == "unpause id-order"


def test_a_stop_is_started_again_by_whoever_comes_first(engine: Engine) -> None:
    engine.has(container("nats"))
    target().stop("nats", 30)
    engine.has(container("nats", running=False))
    other = target()
    assert [line.partition(",")[0] for line in other.faults()] == ["stop nats"]
    began = time.monotonic()
    other.clear()
    assert engine.told()[-1] == "start id-nats"
    assert time.monotonic() - began < 20
    assert other.faults() == []


def test_what_still_stops_is_down_before_it_is_started(engine: Engine) -> None:
    engine.has(container("nats"))
    place = target()
    place.stop("nats", 30)
    place.clear()
    assert engine.told()[-2:] == ["stop --time 10 id-nats", "start id-nats"]


def test_what_cannot_be_put_in_has_no_end(engine: Engine) -> None:
    (engine.folder / "refuses-pause").touch()
    with pytest.raises(TargetError, match="cannot pause"):
        target().pause("order-1", 30)
    assert not engine.leases()


def test_a_second_fault_in_the_same_place_is_refused(engine: Engine) -> None:
    target().stop("nats", 30)
    with pytest.raises(TargetError, match="nats has a fault already"):
        target().pause("nats", 30)


def test_a_fault_in_the_mesh_acts_on_its_route_and_ends_although_nobody_ends_it(envoy: Admin, engine: Engine) -> None:
    place, route = target(), "fault.payment.process"
    place.mesh("payment", {"path": "/process", "abort_status": 503, "abort_percent": 50}, 60)
    assert (envoy.runtime[f"{route}.abort_status"], envoy.runtime[f"{route}.abort_percent"]) == ("503", "50")
    assert [line.partition(",")[0] for line in place.faults()] == ["mesh payment /process"]
    place.clear()
    assert (envoy.runtime, place.faults()) == ({}, [])

    place.mesh("inventory", {"delay_ms": 300, "delay_percent": 100}, 0.3)
    until(lambda: not engine.leases())
    assert envoy.runtime == {}


def test_a_route_that_the_mesh_has_not_is_refused(engine: Engine) -> None:
    with pytest.raises(TargetError, match="no route payment /nowhere"):
        target().mesh("payment", {"path": "/nowhere", "abort_status": 503, "abort_percent": 50}, 60)


def test_the_mesh_repeats_charges_until_it_is_told_not_to(envoy: Admin) -> None:
    target().mesh_repeats(on=True)
    assert envoy.runtime == {"lesson.repeats_charges": "100"}
    target().mesh_repeats(on=False)
    assert envoy.runtime == {}


def test_an_envoy_that_is_down_has_no_faults_to_end(engine: Engine) -> None:
    engine.has(container("envoy", running=False))
    target().mesh_repeats(on=False)
    with pytest.raises(TargetError, match="Envoy does not answer"):
        target().mesh("payment", {"path": "/process", "abort_status": 503, "abort_percent": 50}, 60)
    assert not engine.leases()


def test_a_kill_comes_from_inside_so_that_the_engine_starts_it_again(engine: Engine) -> None:
    target().kill("order-1")
    assert engine.told() == ["exec id-order sh -c kill -KILL -1"]


def test_a_container_that_is_sick_or_gone_makes_the_platform_unwell(engine: Engine) -> None:
    engine.has(container("order", health="unhealthy"), container("nats", running=False), container("payment-v1"))
    assert target().unwell() == ["order-1: running, unhealthy", "nats: exited, healthy"]


def test_states_are_those_that_a_recording_knows_and_who_waits_to_be_started_is_no_replica(engine: Engine) -> None:
    engine.has(
        container("order", paused=True), container("nats", running=False), container("inventory", restarting=True)
    )
    assert [(each.name, each.state) for each in target().programs()] == [
        ("order-1", "paused"),
        ("nats", "down"),
        ("inventory-1", "down"),
    ]
    assert [each.name for each in target().replicas()] == ["order-1"]


def test_the_auditor_is_given_the_answers_of_the_run_and_its_report_comes_back(engine: Engine) -> None:
    answers, report = engine.folder / "answers.jsonl", engine.folder / "report.json"
    answers.write_text('{"idempotency_key": "lost", "status": 201, "id": "ord_1"}\n')
    # What the tool's container does: it sees the answers, and leaves its report beside them.
    (engine.folder / "compose").write_text(
        'case "$*" in *"run --rm --no-deps -T tools -m infra.audit --json /audit/"*--settled*--answers*) ;;\n'
        "*) exit 0 ;; esac\n"
        'cp "$file" "$(dirname "$file")/audit.json"; echo "BROKEN: promises"; exit 1\n'
    )
    code, said = target().audit(answers, report, settled=True)
    assert code == 1, said
    assert "BROKEN: promises" in said
    assert report.read_text() == answers.read_text()
    assert not list(engine.shared.iterdir())

    # An exit code of 1 without a report is the container's, and says nothing about money.
    (engine.folder / "compose").write_text('case "$*" in *" run "*) exit 1 ;; *) exit 0 ;; esac\n')
    assert target().audit(answers, engine.folder / "none.json", settled=True)[0] == 2


def test_a_command_that_fails_says_why(engine: Engine) -> None:
    with pytest.raises(TargetError, match="no such thing"):
        Docker().run("broken")


def test_a_project_without_containers_is_refused(engine: Engine) -> None:
    engine.has()
    with pytest.raises(TargetError, match="make up STACK=compose"):
        target()


def test_the_place_is_the_one_named_then_that_of_the_environment_then_the_stack_that_runs(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHAOS_TARGET", raising=False)
    assert place() == "local"
    (engine.folder / "state" / "stack").write_text("compose")
    assert place() == "compose"
    monkeypatch.setenv("CHAOS_TARGET", "local")
    assert place() == "local"
    assert place("compose") == "compose"
    monkeypatch.setenv("CHAOS_TARGET", "moon")
    with pytest.raises(TargetError, match=", ".join(PLACES)):
        place()


def test_a_scenario_that_cannot_run_here_is_left_out_of_game_days_and_refused_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHAOS_TARGET", "compose")
    (engine.folder / "plan.yaml").write_text("monday: [memory-leak]")
    for words in (
        ["gameday", "memory-leak"],
        ["schedule", "--plan", str(engine.folder / "plan.yaml"), "--day", "monday"],
    ):
        assert main(words) == 0
        assert "not on compose  memory-leak: " in capsys.readouterr().out
    assert main(["run", "memory-leak"]) == 2
    assert "memory-leak does not run on compose: " in capsys.readouterr().err
    assert main(["list"]) == 0
    assert "Not on compose:\nmemory-leak" in capsys.readouterr().out


def test_chaos_stop_ends_what_a_runner_that_is_gone_has_left_in_containers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHAOS_TARGET", "compose")
    engine.has(container("nats", running=False))
    directory = preparation.state_of(engine.settings).faults
    Leases(directory).write(Lease("stop-1", STOP, "nats", time.time() + 60, container="id-nats"))
    assert main(["stop"]) == 0
    assert "No fault acts any more." in capsys.readouterr().out
    assert engine.told() == ["start id-nats"]
