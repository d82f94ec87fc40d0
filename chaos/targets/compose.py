"""The stack of containers that `make up STACK=compose` starts, by the container engine's command line.

Programs are called as in the local stack (`payment-2`, `payment-v2-1`, `nats`). Replicas are asked at their containers'
own addresses, which a Linux host reaches although no port is published.
"""

import logging
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chaos.targets import mesh, roles
from chaos.targets.admin import Admin
from chaos.targets.docker import Docker
from chaos.targets.ends import ROOT, STOP_SECONDS, Ends
from chaos.targets.target import Addresses, Broker, Program, Replica, TargetError
from infra.compose import preparation
from infra.envoy.admin import AdminError
from infra.local import sources
from infra.local.errors import StackError
from infra.local.leases import MESH, PAUSE, STOP
from infra.local.settings import LocalSettings
from infra.mesh import faults as mesh_faults
from infra.mesh import lesson

logger = logging.getLogger("chaostoolkit")

_SERVICES = {"order": "order", "payment-v1": "payment", "payment-v2": "payment", "inventory": "inventory"}
_PORT, _PROMETHEUS_PORT = 8080, 9090
_TOOL_SECONDS = 180
_KILLED_ITSELF = 137
_BROKEN, _UNREADABLE = 1, 2


class Compose:
    """The stack of the state directory that the settings name. `project`: compose's name of it; default: its own."""

    name = "compose"

    def __init__(self, docker: Docker | None = None, settings: LocalSettings | None = None, project: str = "") -> None:
        try:
            self._settings = settings or sources.load()
        except StackError as error:
            raise TargetError(str(error)) from error
        self._docker = docker or Docker()
        self._state = preparation.state_of(self._settings)
        self._project = project or preparation.project_of(self._settings)
        self._ends = Ends(self._state.faults, self._docker)
        self.runs = self._settings.state / "chaos"
        found = self._all()
        if not found:
            raise TargetError(f"No containers of the project {self._project}. Start it with: make up STACK=compose")
        edge = _published(found.get("envoy"), _PORT) or f"http://127.0.0.1:{self._settings.port}"
        catalogue = next((each.url for each in self.replicas("inventory")), edge)
        self.addresses = Addresses(edge, catalogue, _published(found.get("prometheus"), _PROMETHEUS_PORT))
        self._admin = Admin(lambda: self._secret("admin_token"))

    def replicas(self, service: str = "") -> Sequence[Replica]:
        """Running containers of order, payment and inventory."""
        found = []
        for name, container in self._all().items():
            label = _service(container)
            module = _SERVICES.get(label)
            address = _address(container)
            if module and address and _state(container) != "down" and service in ("", module, label, name):
                found.append(Replica(name, module, f"http://{address}:{_PORT}"))
        return found

    def programs(self) -> Sequence[Program]:
        """Every container."""
        return [Program(name, _state(each), int(each["State"]["Pid"])) for name, each in self._all().items()]

    def role(self, name: str) -> Sequence[str]:
        """Those of `roles.COMPOSE` that this stack has."""
        found = self._all()
        return [each for each in roles.COMPOSE.get(name, ()) if each in found]

    def unwell(self) -> Sequence[str]:
        """Containers that do not run, or whose health check says no. One that was made to end is none."""
        stopped = {lease.target for lease in self._ends.active() if lease.kind == STOP}
        sick = []
        for name, container in self._all().items():
            state = container["State"]
            health = state.get("Health", {}).get("Status", "healthy")
            if not state["Running"] and state.get("ExitCode") == 0 and name not in stopped:
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
        """In services, what has an end written down, and containers that somebody else has paused."""
        now, leases = time.time(), self._ends.active()
        known = {lease.target for lease in leases}
        shown = [f"{lease.kind} {lease.target}, {lease.left(now):.0f} s left" for lease in leases]
        shown += [f"pause {name}" for name, each in self._all().items() if _paused(each) and name not in known]
        return [*self._admin.faults(self.replicas()), *shown]

    def pause(self, program: str, seconds: float) -> None:
        """`docker pause`, its end first."""
        container = self._one(program)["Id"]
        with self._ends.begin(PAUSE, program, seconds, container=container):
            self._docker.run("pause", container)

    def stop(self, program: str, seconds: float) -> None:
        """`docker stop`: unless-stopped leaves it down. The time that it takes to stop does not count."""
        container = self._one(program)["Id"]
        with self._ends.begin(STOP, program, seconds + STOP_SECONDS, container=container):
            self._docker.run("stop", "--time", str(STOP_SECONDS), container)

    def kill(self, program: str) -> None:
        """SIGKILL from inside: what the engine kills itself, it takes for stopped on purpose and does not restart."""
        words = ("exec", self._one(program)["Id"], "sh", "-c", "kill -KILL -1")
        self._docker.run(*words, tolerate=(_KILLED_ITSELF,))

    def mesh(self, service: str, fault: Mapping[str, Any], seconds: float) -> None:
        """Envoy's fault filter, over its administration."""
        spoilt, envoy = mesh.spoilt(service, fault), self._one("envoy")["Id"]
        route, socket = spoilt.route, preparation.admin_socket(self._settings)
        target, more = f"{route.service} {route.path}", {"socket": str(socket), "keys": route.keys}
        with self._ends.begin(MESH, target, seconds, container=envoy, **more):
            try:
                mesh_faults.put(socket, spoilt)
            except AdminError as error:
                raise TargetError(str(error)) from error

    def mesh_repeats(self, on: bool) -> None:
        """Over Envoy's administration; one that is down repeats nothing."""
        envoy = self._all().get("envoy")
        if not on and (envoy is None or _state(envoy) == "down"):
            return
        try:
            lesson.repeat_charges(preparation.admin_socket(self._settings), on=on)
        except AdminError as error:
            raise TargetError(str(error)) from error

    def broker(self) -> Broker:
        """Not published; reached at its container's address."""
        address = _address(self._one("nats"))
        if not address:
            raise TargetError("nats has no address: it does not run.")
        return Broker(f"nats://{address}:4222", "operator", self._secret("nats_password"))

    def ask(self, replica: Replica, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """An admin route of a replica."""
        return self._admin.ask(replica, method, path, body)

    def clear(self) -> None:
        """End everything, also what others put in. A replica that cannot be asked ends what is in it by itself."""
        problems = self._ends.end()
        for container in self._all().values():
            if _paused(container):
                self._docker.run("unpause", container["Id"])
        problems += self._clear_mesh() + self._admin.clear(self.replicas())
        if problems:
            logger.warning("Not everything could be ended at once: %s", "; ".join(problems))

    def _clear_mesh(self) -> list[str]:
        """Those too that somebody has set without a lease."""
        envoy = self._all().get("envoy")
        if envoy is not None and _state(envoy) != "down":
            try:
                mesh_faults.clear(preparation.admin_socket(self._settings))
            except AdminError as error:
                return [str(error)]
        return []

    def audit(self, answers: Path | None, report: Path, *, settled: bool) -> tuple[int, str]:
        """The auditor, in a container beside the databases; answers and report pass through a directory it sees."""
        with tempfile.TemporaryDirectory(dir=self._audit_directory()) as shared:
            inside = f"/audit/{Path(shared).name}"
            words = ["tool", "infra.audit", "--json", f"{inside}/audit.json", *(["--settled"] if settled else [])]
            if answers is not None:
                shutil.copyfile(answers, Path(shared, "answers.jsonl"))
                words += ["--answers", f"{inside}/answers.jsonl"]
            preparation.hand_over([Path(shared)])
            done = self._module(*words)
            code, written = done.returncode, Path(shared, "audit.json")
            if written.exists():
                shutil.copyfile(written, report)
            elif code == _BROKEN:
                # Not the auditor's: the container did not come so far.
                code = _UNREADABLE
        return code, done.stdout + done.stderr

    def _audit_directory(self) -> Path:
        directory = preparation.audit_directory(self._settings)
        if not directory.is_dir():
            raise TargetError(f"{directory} is missing: the containers are older than this code. make up STACK=compose")
        return directory

    def _secret(self, name: str) -> str:
        try:
            return (self._state.secrets / "operator" / name).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise TargetError(f"The operator's {name} cannot be read: {error}") from error

    def _tool(self, *words: str) -> None:
        done = self._module(*words)
        if done.returncode:
            raise TargetError(f"infra.compose {' '.join(words)}: {(done.stderr or done.stdout).strip()[:300]}")

    def _module(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "infra.compose", *words]
        try:
            return subprocess.run(  # noqa: S603 - our own module
                command, cwd=ROOT, capture_output=True, text=True, timeout=_TOOL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TargetError(f"infra.compose {words[0]} took more than {_TOOL_SECONDS} s") from error

    def _one(self, program: str) -> dict[str, Any]:
        found = self._all().get(program)
        if found is None:
            raise TargetError(f"There is no container {program}. There are: {', '.join(self._all())}.")
        return found

    def _all(self) -> dict[str, dict[str, Any]]:
        return {_name(each): each for each in self._docker.containers(self._project)}


def _name(container: Mapping[str, Any]) -> str:
    service = _service(container)
    if service not in _SERVICES:
        return service
    number = container["Config"]["Labels"].get("com.docker.compose.container-number", "1")
    return f"{service.removesuffix('-v1')}-{number}"


def _label(service: str) -> str:
    return "payment-v1" if service == "payment" else service


def _service(container: Mapping[str, Any]) -> str:
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


def _address(container: Mapping[str, Any]) -> str:
    """Empty when it has none: it does not run."""
    networks = container["NetworkSettings"]["Networks"].values()
    return str(next((network["IPAddress"] for network in networks if network.get("IPAddress")), ""))


def _published(container: Mapping[str, Any] | None, port: int) -> str:
    """Where a port of a container is on this machine, also while it is down; empty when there is no such container."""
    bindings = (container or {}).get("HostConfig", {}).get("PortBindings") or {}
    host = next((each["HostPort"] for each in bindings.get(f"{port}/tcp", ())), "")
    return f"http://127.0.0.1:{host}" if host else ""


def _paused(container: Mapping[str, Any]) -> bool:
    return bool(container["State"].get("Paused"))


def _state(container: Mapping[str, Any]) -> str:
    state = container["State"]
    if _paused(container):
        return "paused"
    # One that waits to be started again counts as running for the engine.
    return "running" if state["Running"] and not state.get("Restarting") else "down"
