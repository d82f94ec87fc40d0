"""The platform in a cluster (infra/kubernetes), through its API server and nothing else.

Nothing of what experiments talk to is public there: each port is reached through `Forward`. What acts on pods is an
object of Chaos Mesh with a duration, so that it ends when this process cannot end it.
"""

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chaos.render import cluster
from chaos.render.fault import Fault, NotExpressible
from chaos.render.faults import fault_by
from chaos.targets.admin import Admin
from chaos.targets.auditing import run_auditor
from chaos.targets.chaos_mesh import ChaosMesh
from chaos.targets.cluster_api import ClusterApi
from chaos.targets.operator_secret import OperatorSecret
from chaos.targets.pods import Pod, Workload
from chaos.targets.ports import Ports
from chaos.targets.scaling import Scaling
from chaos.targets.target import Addresses, Broker, Program, Replica, TargetError
from chaos.targets.view import View
from infra.kubernetes.connection import NoCluster, connect

ROOT = Path(__file__).resolve().parents[2]
_EDGE, _CATALOGUE, _BROKER = "order", "inventory", "nats"
_NATS_PORT = 4222


class Kubernetes:
    """The namespace `CHAOS_NAMESPACE` of the cluster that this runs in, or of the kubeconfig's current context.

    Raises:
        TargetError: no cluster, no answer, no right to look, or no platform in the namespace.
    """

    name = "kubernetes"

    def __init__(self, api: Any = None, environment: Mapping[str, str] = os.environ) -> None:
        try:
            self._api = ClusterApi(api or connect())
        except NoCluster as error:
            raise TargetError(f"CHAOS_TARGET=kubernetes: {error}") from error
        self._namespace = environment.get("CHAOS_NAMESPACE") or cluster.NAMESPACE
        self._view = View(self._api, self._namespace)
        self._view.look()
        self._mesh = ChaosMesh(self._api, self._namespace)
        self._secret = OperatorSecret(self._api, self._namespace)
        self._scaling = Scaling(self._api, self._namespace, self._view)
        self._admin = Admin(lambda: self._secret.value("admin_token"))
        self._ports = Ports(self._api, self._namespace, self._view)
        self.runs = ROOT / environment.get("HOLDFAST_STATE_DIR", ".local") / "chaos"
        self.addresses = Addresses(
            edge=environment.get("CHAOS_EDGE_URL") or self._ports.to_any(self._versions(_EDGE), cluster.PORT).url,
            inventory=self._ports.to_any(self._versions(_CATALOGUE), cluster.PORT).url,
            prometheus=environment.get("CHAOS_PROMETHEUS_URL")
            or self._ports.prometheus(environment.get("CHAOS_PROMETHEUS_NAMESPACE") or "monitoring"),
        )

    def replicas(self, service: str = "") -> Sequence[Replica]:
        """Pods whose service runs, by the name of the place that they have."""
        found: dict[str, tuple[Workload, Pod]] = {}
        self._ports.forget_gone()
        for name, (owner, here) in self._view.look().places.items():
            if owner.service and here and self._view.names.state(here[0]) == "running":
                found[name] = owner, here[0]
        return [
            Replica(name, owner.service, self._ports.to_pod(each.name).url)
            for name, (owner, each) in found.items()
            if service in ("", owner.service, owner.name, owner.program, name)
        ]

    def programs(self) -> Sequence[Program]:
        """Replicas of services, and each workload of another kind as one: down when none of its pods runs."""
        return [Program(name, *self._seen(here)) for name, (_, here) in self._view.look().places.items()]

    def role(self, name: str) -> Sequence[str]:  # noqa: ARG002 - a target's method
        """None: what does other jobs is in other namespaces."""
        return ()

    def unwell(self) -> Sequence[str]:
        """Workloads with fewer ready pods than they should have, or in the middle of a rollout."""
        look = self._view.look(fresh=True)
        sick = []
        for name, each in look.workloads.items():
            here = look.of(name)
            ready = sum(pod.ready for pod in here)
            if ready < each.wanted:
                why = "".join(f"; {pod.name}: {pod.reason}" for pod in here if not pod.ready)
                sick.append(f"{name}: {ready} of {each.wanted} pods are ready{why}")
            elif not each.settled:
                sick.append(f"{name}: a rollout is under way")
        return sick

    def size(self, service: str) -> int:
        """`spec.replicas`; of payment its first version's."""
        return self._scaling.size(_deployment(service))

    def scale(self, service: str, replicas: int) -> None:
        """A patch of `spec.replicas`; waits until so many pods, and no others, are ready."""
        self._scaling.scale(_deployment(service), replicas)

    def fault(self, replica: Replica, fault: Mapping[str, Any]) -> None:
        """Put a fault into a service."""
        self._admin.ask(replica, "POST", "/admin/faults", fault)

    def faults(self) -> Sequence[str]:
        """In services, and what Chaos Mesh does in the namespace, whoever told it to."""
        return [*self._admin.faults(self.replicas()), *self._mesh.acting()]

    def pause(self, program: str, seconds: float) -> None:
        """Not to be had: no signal reaches a pod's process from outside."""
        raise TargetError(f"Nothing stops the process of {program} where it stands ({seconds:g} s) in a cluster.")

    def stop(self, program: str, seconds: float) -> None:
        """PodChaos `pod-failure`: something that does nothing runs in place of the pods' containers."""
        self._put("stop", program, seconds)

    def kill(self, program: str) -> None:
        """PodChaos `pod-kill`, without a grace period; the Deployment makes another pod."""
        self._put("kill", program, 1.0)

    def mesh(self, service: str, fault: Mapping[str, Any], seconds: float) -> None:
        """HTTPChaos, for pods without a proxy. With one it does not act, and Istio's own faults have no end."""
        look = self._view.look()
        struck = [each for name in self._versions(service) for each in look.of(name)]
        if any(each.proxied for each in struck):
            raise TargetError(
                f"{service} has Istio's proxies: their faults have no end of their own, so that they are put in by "
                "hand (chaos/mesh/istio)"
            )
        try:
            made = fault_by("in_mesh", {"service": service, "fault": fault})
        except (NotExpressible, KeyError) as error:
            raise TargetError(f"mesh: {error}") from error
        self._mesh.put(f"mesh-{service}", made, seconds)

    def mesh_repeats(self, on: bool) -> None:
        """Not to be had: the routes are the cluster's, and nothing would put them back."""
        if on:
            raise TargetError("The mesh of a cluster is not told to repeat charges: nothing would end it.")

    def broker(self) -> Broker:
        """Any ready server of NATS, and the operator's password from the Secret."""
        return Broker(
            f"nats://127.0.0.1:{self._ports.to_any([_BROKER], _NATS_PORT).port}",
            "operator",
            self._secret.value("nats_password"),
        )

    def ask(self, replica: Replica, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """An admin route of a replica."""
        return self._admin.ask(replica, method, path, body)

    def clear(self) -> None:
        """Delete what Chaos Mesh was told in the namespace, then end what is inside the services."""
        self._mesh.clear()
        self._view.look(fresh=True)
        self._admin.clear(self.replicas())

    def audit(self, answers: Path | None, report: Path, *, settled: bool) -> tuple[int, str]:
        """The auditor, here, in the auditor's role; a database that is in the namespace is behind a forward."""
        urls = self._secret.database_urls(self._ports.near)
        variables = {f"{service.upper()}_DATABASE_URL": url for service, url in urls.items()}
        return run_auditor(variables, answers, report, settled=settled)

    def _put(self, action: str, program: str, seconds: float) -> None:
        """By the pods' own names: a label would also be that of pods that are not meant."""
        owner, here = self._place(program)
        if not here:
            raise TargetError(f"{program} has no pod at the moment.")
        try:
            made = fault_by(action, {"programs": [owner.service or program]})
        except NotExpressible as error:
            raise TargetError(f"{action}: {error}") from error
        chosen = {"mode": "all", "selector": {"pods": {self._namespace: [each.name for each in here]}}}
        self._mesh.put(f"{action}-{program}", Fault(made.kind, {**made.spec, **chosen}), seconds)

    def _place(self, program: str) -> tuple[Workload, Sequence[Pod]]:
        places = self._view.look(fresh=True).places
        if program not in places:
            raise TargetError(f"There is no {program}. There are: {', '.join(sorted(places))}.")
        return places[program]

    def _seen(self, here: Sequence[Pod]) -> tuple[str, int]:
        states = [self._view.names.state(each) for each in here]
        state = next((each for each in ("running", "starting") if each in states), "down")
        if len(here) == 1:
            return state, here[0].number
        return state, zlib.crc32(json.dumps(sorted(each.number for each in here)).encode())

    def _versions(self, service: str) -> list[str]:
        return [name for name, each in self._view.look().workloads.items() if each.service == service]


def _deployment(service: str) -> str:
    return "payment-v1" if service == "payment" else service
