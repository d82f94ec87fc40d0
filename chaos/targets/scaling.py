"""Numbers of replicas: a patch of `spec.replicas`, by the version that was read, and nothing else."""

import time
from typing import Any

from chaos.targets.cluster_api import MERGE_PATCH, ClusterApi, Conflict
from chaos.targets.target import TargetError
from chaos.targets.view import View

_ATTEMPTS = 3
_EVERY_SECONDS = 0.5


class Scaling:
    """The Deployments of a namespace. `patience`: seconds until as many pods as were asked for are ready."""

    def __init__(self, api: ClusterApi, namespace: str, view: View, patience: float = 180.0) -> None:
        self._api, self._namespace, self._view, self._patience = api, namespace, view, patience

    def size(self, deployment: str) -> int:
        """`spec.replicas`, which a server leaves out when it is none."""
        return _replicas(self._api.call("GET", self._path(deployment)))

    def scale(self, deployment: str, replicas: int) -> None:
        """Set it, unless it is so, and wait for the pods.

        Raises:
            TargetError: somebody else sets it too, as an autoscaler does, or the pods are not ready in time.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            read = self._api.call("GET", self._path(deployment))
            if _replicas(read) == replicas:
                break
            version = read["metadata"]["resourceVersion"]
            body = {"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}}
            try:
                self._api.call("PATCH", self._path(deployment), body, content_type=MERGE_PATCH)
                break
            except Conflict:
                if attempt == _ATTEMPTS:
                    raise
        self._until_ready(deployment, replicas)

    def _until_ready(self, deployment: str, replicas: int) -> None:
        patience = time.monotonic() + self._patience
        while True:
            look = self._view.look(fresh=True)
            here = look.of(deployment)
            if look.workloads[deployment].wanted != replicas:
                raise TargetError(
                    f"{deployment} has {look.workloads[deployment].wanted} replicas, not {replicas} as it was told: "
                    "somebody else sets the number, too (kubectl get hpa)"
                )
            if len(here) == replicas and all(each.ready for each in here):
                return
            if time.monotonic() > patience:
                ready = sum(each.ready for each in here)
                raise TargetError(f"{deployment}: {ready} of {replicas} pods are ready after {self._patience:g} s")
            time.sleep(_EVERY_SECONDS)

    def _path(self, deployment: str) -> str:
        return f"/apis/apps/v1/namespaces/{self._namespace}/deployments/{deployment}/scale"


def _replicas(scale: dict[str, Any]) -> int:
    return int(scale.get("spec", {}).get("replicas", 0))
