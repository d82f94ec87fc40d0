"""The ports that experiments talk to, each behind a `Forward` of this process."""

import itertools
import logging
import threading
from collections.abc import Callable, Sequence

import websocket

from chaos.render import cluster
from chaos.targets.cluster_api import ClusterApi
from chaos.targets.forward import Forward
from chaos.targets.target import TargetError
from chaos.targets.view import View

logger = logging.getLogger("chaostoolkit")

_PROMETHEUS = {"labelSelector": "app.kubernetes.io/name=prometheus"}
_PROMETHEUS_PORT = 9090


class Ports:
    """Forwards to the pods of a namespace, made when they are first asked for. Safe from several threads."""

    def __init__(self, api: ClusterApi, namespace: str, view: View) -> None:
        self._api, self._namespace, self._view = api, namespace, view
        self._to_pods: dict[str, Forward] = {}
        self._to_workloads: dict[tuple[str, int], Forward] = {}
        self._turn = itertools.count()
        self._lock = threading.Lock()

    def to_pod(self, pod: str) -> Forward:
        """The port of one pod of a service, admin routes and metrics included."""
        with self._lock:
            if pod not in self._to_pods:
                self._to_pods[pod] = Forward(lambda: self._api.port(self._namespace, pod, cluster.PORT), pod)
            return self._to_pods[pod]

    def to_any(self, workloads: Sequence[str], number: int) -> Forward:
        """A port of the pods of these workloads: each connection goes to the next one that is ready."""

        def open_stream() -> websocket.WebSocket:
            ready = self._view.ready(workloads)
            if not ready:
                raise TargetError(f"no pod of {', '.join(workloads)} is ready")
            return self._api.port(self._namespace, ready[next(self._turn) % len(ready)], number)

        return self._named("+".join(workloads), number, open_stream)

    def prometheus(self, namespace: str) -> str:
        """The base URL of a Prometheus that runs in that namespace; empty when none does, or we may not look."""

        def running() -> list[str]:
            listed = self._api.call("GET", f"/api/v1/namespaces/{namespace}/pods", query=_PROMETHEUS)
            return [each["metadata"]["name"] for each in listed["items"] if each["status"].get("phase") == "Running"]

        def open_stream() -> websocket.WebSocket:
            found = running()
            if not found:
                raise TargetError(f"no Prometheus runs in {namespace}")
            return self._api.port(namespace, found[0], _PROMETHEUS_PORT)

        try:
            if running():
                return self._named(f"{namespace}/prometheus", _PROMETHEUS_PORT, open_stream).url
            reason = f"none runs in the namespace {namespace}"
        except TargetError as error:
            reason = str(error)
        logger.warning("No Prometheus, CHAOS_PROMETHEUS_URL names one that is elsewhere: %s", reason)
        return ""

    def near(self, host: str, number: int) -> tuple[str, int]:
        """Host and port by which we reach what pods call so: a workload of the namespace is behind a forward."""
        name = host.partition(".")[0]
        if name not in self._view.look().workloads:
            return host, number
        return "127.0.0.1", self.to_any([name], number).port

    def forget_gone(self) -> None:
        """Close the forwards to pods that are no more."""
        here = {each.name for each in self._view.look().pods}
        with self._lock:
            for pod in self._to_pods.keys() - here:
                self._to_pods.pop(pod).close()

    def _named(self, name: str, number: int, open_stream: Callable[[], websocket.WebSocket]) -> Forward:
        with self._lock:
            if (name, number) not in self._to_workloads:
                self._to_workloads[name, number] = Forward(open_stream, name)
            return self._to_workloads[name, number]
