"""A look at the namespace, not older than a moment: what the observer, the load and the probes ask all the time."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chaos.targets import pods
from chaos.targets.cluster_api import ClusterApi
from chaos.targets.pods import Names, Pod, Workload
from chaos.targets.target import TargetError

_FRESH_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Look:
    """Workloads and pods at one moment; `places`: the name of each program, and the pods that are it now."""

    workloads: Mapping[str, Workload]
    pods: Sequence[Pod]
    places: Mapping[str, tuple[Workload, Sequence[Pod]]]

    def of(self, workload: str) -> list[Pod]:
        """The pods of a workload that are not on their way out."""
        return [each for each in self.pods if each.workload == workload and not each.leaving]


class View:
    """The namespace through the API server. Safe from several threads."""

    def __init__(self, api: ClusterApi, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self.names = Names()
        self._lock = threading.Lock()
        self._look: Look | None = None
        self._at = 0.0

    def look(self, *, fresh: bool = False) -> Look:
        """What there is; `fresh`: from now, and not from a moment ago. Raises `TargetError`."""
        with self._lock:
            if fresh or self._look is None or time.monotonic() - self._at > _FRESH_SECONDS:
                self._look = self._see()
                self._at = time.monotonic()
            return self._look

    def ready(self, workloads: Sequence[str]) -> list[str]:
        """Names of the ready pods of workloads, as a Service would choose from."""
        look = self.look()
        return sorted(each.name for name in workloads for each in look.of(name) if each.ready)

    def _see(self) -> Look:
        apps, core = f"/apis/apps/v1/namespaces/{self._namespace}", f"/api/v1/namespaces/{self._namespace}"
        found = [
            pods.workload(each)
            for kind in ("deployments", "statefulsets")
            for each in self._api.call("GET", f"{apps}/{kind}")["items"]
        ]
        if not any(each.service for each in found):
            raise TargetError(
                f"No service runs in the namespace {self._namespace}: infra/kubernetes, or CHAOS_NAMESPACE"
            )
        seen = []
        for each in sorted(self._api.call("GET", f"{core}/pods")["items"], key=_age):
            owner = next((owner for owner in found if owner.owns(each["metadata"].get("labels", {}))), None)
            if owner is not None:
                seen.append(pods.pod(each, owner))
        self.names.remember(seen)
        places: dict[str, tuple[Workload, Sequence[Pod]]] = {}
        for owner in found:
            own = [each for each in seen if each.workload == owner.name]
            if owner.service:
                named = self.names.give(owner, own)
                places |= {name: (owner, [one] if one else []) for name, one in named.items()}
            elif owner.wanted:
                places[owner.program] = (owner, [each for each in own if not each.leaving])
        return Look({each.name: each for each in found}, seen, places)


def _age(found: Mapping[str, Mapping[str, str]]) -> tuple[str, str]:
    return found["metadata"].get("creationTimestamp", ""), found["metadata"]["name"]
