"""The stack of containers that `make up STACK=compose` starts, by the container engine's command line.

Replicas are asked at their containers' own addresses, which a Linux host reaches although no port is published.
"""

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chaos.targets.admin import Admin
from chaos.targets.docker import Docker
from chaos.targets.target import Addresses, Broker, Program, Replica, TargetError

ROOT = Path(__file__).resolve().parents[2]
_SERVICES = {"order": "order", "payment-v1": "payment", "payment-v2": "payment", "inventory": "inventory"}
_PORT = 8080
_SCALE_SECONDS = 180
_KILLED_ITSELF = 137
_STOP_SECONDS = 10


class Compose:
    """One compose project: `COMPOSE_PROJECT_NAME`, else what `make up` wrote down, else this directory's name."""

    name = "compose"

    def __init__(self, docker: Docker | None = None, environment: Mapping[str, str] = os.environ) -> None:
        self._docker = docker or Docker()
        self._state = ROOT / environment.get("HOLDFAST_COMPOSE_STATE", ".local/compose")
        self._project = environment.get("COMPOSE_PROJECT_NAME") or _project(self._state)
        self._stopped: set[str] = set()
        edge = f"http://127.0.0.1:{environment.get('HOLDFAST_PORT', '8080')}"
        prometheus = f"http://127.0.0.1:{environment.get('HOLDFAST_PROMETHEUS_PORT', '9090')}"
        self.runs = self._state.parent / "chaos"
        if not self._all():
            raise TargetError(f"No containers of the project {self._project}. Start it with: make up STACK=compose")
        self.addresses = Addresses(edge, edge, prometheus)
        self._admin = Admin(lambda: (self._state / "secrets" / "operator" / "admin_token").read_text().strip())

    def replicas(self, service: str = "") -> Sequence[Replica]:
        """Running containers of order, payment and inventory."""
        found = []
        for name, container in self._all().items():
            label = _service(container)
            module = _SERVICES.get(label)
            if module and container["State"]["Running"] and service in ("", module, label, name):
                found.append(Replica(name, module, f"http://{_address(container)}:{_PORT}"))
        return found

    def programs(self) -> Sequence[Program]:
        """Every container."""
        return [Program(name, _state(each), int(each["State"]["Pid"])) for name, each in self._all().items()]

    def unwell(self) -> Sequence[str]:
        """Containers that do not run, or whose health check says no. One that was made to end is none."""
        sick = []
        for name, container in self._all().items():
            state = container["State"]
            health = state.get("Health", {}).get("Status", "healthy")
            if not state["Running"] and state.get("ExitCode") == 0 and name not in self._stopped:
                continue
            if _state(container) != "running" or health != "healthy":
                sick.append(f"{name}: {state['Status']}, {health}")
        return sick

    def size(self, service: str) -> int:
        """Containers of the service that run."""
        found = self._all().values()
        return len([each for each in found if _service(each) == _label(service) and each["State"]["Running"]])

    def scale(self, service: str, replicas: int) -> None:
        """Through `python -m infra.compose scale`, which knows both generations of compose."""
        if self.size(service) != replicas:
            self._tool("scale", _label(service), str(replicas))

    def fault(self, replica: Replica, fault: Mapping[str, Any]) -> None:
        """Put a fault into a service."""
        self._admin.ask(replica, "POST", "/admin/faults", fault)

    def faults(self) -> Sequence[str]:
        """In services, and containers that are paused."""
        paused = [f"pause {name}" for name, each in self._all().items() if each["State"].get("Paused")]
        return [*self._admin.faults(self.replicas()), *paused, *(f"stop {name}" for name in sorted(self._stopped))]

    def pause(self, program: str, seconds: float) -> None:
        """`docker pause`. The watchdog is there first."""
        container = self._one(program)
        self._docker.later(seconds, "unpause", container["Id"])
        self._docker.run("pause", container["Id"])

    def stop(self, program: str, seconds: float) -> None:
        """`docker stop`: unless-stopped leaves it down, until the watchdog starts it.

        One that takes its time to stop must be down by then: to start what still runs does nothing.
        """
        container = self._one(program)
        self._docker.later(seconds + _STOP_SECONDS, "start", container["Id"])
        self._stopped.add(program)
        self._docker.run("stop", "--time", str(_STOP_SECONDS), container["Id"])

    def kill(self, program: str) -> None:
        """SIGKILL from inside: what the engine kills itself, it takes for stopped on purpose and does not restart."""
        words = ("exec", self._one(program)["Id"], "sh", "-c", "kill -KILL -1")
        self._docker.run(*words, tolerate=(_KILLED_ITSELF,))

    def mesh(self, service: str, fault: Mapping[str, Any], seconds: float) -> None:
        """Not here yet: Envoy's administration is a socket inside its container."""
        raise TargetError(f"No faults in the mesh of containers yet ({service}, {dict(fault)}, {seconds:g} s).")

    def mesh_repeats(self, on: bool) -> None:
        """Not here either."""
        if on:
            raise TargetError("The mesh of containers cannot be told to repeat charges.")

    def broker(self) -> Broker:
        """Not published; reached at its container's address."""
        container = self._one("nats-1")
        password = (self._state / "secrets" / "operator" / "nats_password").read_text(encoding="utf-8").strip()
        return Broker(f"nats://{_address(container)}:4222", "operator", password)

    def ask(self, replica: Replica, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """An admin route of a replica."""
        return self._admin.ask(replica, method, path, body)

    def clear(self) -> None:
        """Unpause, start, and end what is inside the services. A watchdog that comes later finds nothing to do."""
        for name, container in self._all().items():
            if container["State"].get("Paused"):
                self._docker.run("unpause", container["Id"])
            if name in self._stopped and not container["State"]["Running"]:
                self._docker.run("start", container["Id"])
        self._stopped.clear()
        self._admin.clear(self.replicas())

    def audit(self, answers: Path | None, report: Path, *, settled: bool) -> tuple[int, str]:
        """The auditor runs in a container beside the databases, which cannot read the answers of this run."""
        words = ["tool", "infra.audit", *(["--settled"] if settled else [])]
        done = self._module(*words)
        report.write_text(json.dumps({"clean": done.returncode == 0, "answers": str(answers)}), encoding="utf-8")
        return done.returncode, done.stdout + done.stderr

    def _tool(self, *words: str) -> None:
        done = self._module(*words)
        if done.returncode:
            raise TargetError(f"infra.compose {' '.join(words)}: {(done.stderr or done.stdout).strip()[:300]}")

    def _module(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / ".venv/bin/python"), "-m", "infra.compose", *words]
        try:
            return subprocess.run(  # noqa: S603 - our own module
                command, cwd=ROOT, capture_output=True, text=True, timeout=_SCALE_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TargetError(f"infra.compose {words[0]} took more than {_SCALE_SECONDS} s") from error

    def _one(self, program: str) -> dict[str, Any]:
        found = self._all().get(program)
        if found is None:
            raise TargetError(f"There is no container {program}. There are: {', '.join(self._all())}.")
        return found

    def _all(self) -> dict[str, dict[str, Any]]:
        return {_name(each): each for each in self._docker.containers(self._project)}


def _name(container: Mapping[str, Any]) -> str:
    labels = container["Config"]["Labels"]
    return f"{labels['com.docker.compose.service']}-{labels.get('com.docker.compose.container-number', '1')}"


def _label(service: str) -> str:
    return "payment-v1" if service == "payment" else service


def _service(container: Mapping[str, Any]) -> str:
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


def _address(container: Mapping[str, Any]) -> str:
    networks = container["NetworkSettings"]["Networks"].values()
    found = next((network["IPAddress"] for network in networks if network.get("IPAddress")), "")
    if not found:
        raise TargetError(f"{_name(container)} has no address: it does not run.")
    return str(found)


def _state(container: Mapping[str, Any]) -> str:
    state = container["State"]
    if state.get("Paused"):
        return "paused"
    return "running" if state["Running"] else "down"


def _project(state: Path) -> str:
    record = state / "project"
    written = record.read_text(encoding="utf-8").strip() if record.exists() else ""
    return written or re.sub(r"[^a-z0-9_-]", "", ROOT.name.lower())
