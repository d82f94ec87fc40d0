"""Kubernetes, through the official client: a patch of `spec.replicas`, and evictions, which respect disruption budgets.

The rights that it needs, and no others, are in `infra/kubernetes/components/prediction`. The client blocks, so each
call has a thread and a time limit.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from infra.kubernetes import connection
from ml.remediation.actuators.protocol import ActuatorError, Failure
from ml.remediation.limits import Fleet

MERGE_PATCH = "application/merge-patch+json"
_PATCH_ATTEMPTS = 3
_FAILURES = {401: Failure.FORBIDDEN, 403: Failure.FORBIDDEN, 404: Failure.MISSING, 409: Failure.CONFLICT}
_TOO_MANY_REQUESTS = 429


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: of one call, of a whole rolling restart, and between two looks."""

    call: float = 10.0
    restart: float = 900.0
    look: float = 2.0


def connect() -> Any:
    """As `infra.kubernetes.connection.connect`.

    Raises:
        ActuatorError: there is no cluster.
    """
    try:
        return connection.connect()
    except connection.NoCluster as error:
        raise ActuatorError(Failure.UNAVAILABLE, str(error)) from error


class KubernetesActuator:
    """The Deployments of one namespace.

    deployments: the Deployment of each service; a service that is not in it has the Deployment of its own name
    """

    name = "kubernetes"

    def __init__(
        self,
        api: Any,
        namespace: str = "holdfast",
        deployments: Mapping[str, str] | None = None,
        times: Times = Times(),
    ) -> None:
        self._apps, self._core = client.AppsV1Api(api), client.CoreV1Api(api)
        self._namespace, self._times = namespace, times
        self._deployments = dict(deployments) if deployments is not None else {"payment": "payment-v1"}

    async def fleet(self, service: str) -> Fleet:
        """`spec.replicas` and `status.readyReplicas`."""
        found = await self._deployment(service)
        return Fleet(_replicas(found), found.status.ready_replicas or 0)

    async def scale(self, service: str, *, before: int, to: int) -> str:
        """As in the protocol. The version that was read goes with the patch: what changed in between is a conflict.

        A conflict about anything but the number is tried again. After a timeout it is read whether it was done.
        """
        name = self._name(service)
        for attempt in range(1, _PATCH_ATTEMPTS + 1):
            read = await self._call(self._apps.read_namespaced_deployment_scale, name, self._namespace)
            found = _replicas(read)
            if found != before:
                raise ActuatorError(Failure.CONFLICT, f"{name} has {found} replicas, not {before}: left as it is")
            body = {"metadata": {"resourceVersion": read.metadata.resource_version}, "spec": {"replicas": to}}
            try:
                await self._call(
                    self._apps.patch_namespaced_deployment_scale, name, self._namespace, body,
                    _content_type=MERGE_PATCH, field_manager="holdfast-remediation",
                )  # fmt: skip
            except ActuatorError as error:
                if error.failure is Failure.TIMEOUT:
                    return await self._after_timeout(name, to, error)
                if error.failure is not Failure.CONFLICT or attempt == _PATCH_ATTEMPTS:
                    raise
            else:
                return f"{name}: spec.replicas {before} -> {to}"
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def restart(self, service: str) -> str:
        """As in the protocol: each pod is evicted, and its successor ready, before the next one.

        Raises:
            ActuatorError: with the pods that had been evicted by then. Their successors come all the same, and no
                further pod is touched.
        """
        deadline = time.monotonic() + self._times.restart
        deployment = await self._deployment(service)
        self._require_ready(deployment)
        pods = await self._pods(deployment)
        done: list[str] = []
        try:
            for pod in pods:
                await self._evict(pod, deadline)
                done.append(pod.metadata.name)
                await self._until_ready(service, {each.metadata.uid for each in pods[: len(done)]}, deadline)
        except ActuatorError as error:
            raise ActuatorError(error.failure, f"{error}; evicted before: {', '.join(done) or 'none'}") from error
        return f"evicted one after the other: {', '.join(done)}"

    async def drain(self, service: str, seconds: float) -> str:  # noqa: ARG002
        """Not here: what takes a pod out of its Service without deleting it is a change of its labels or conditions."""
        raise ActuatorError(
            Failure.UNSUPPORTED, f"no drain of {service} in Kubernetes: an eviction drains, see restart"
        )

    async def undrain(self, service: str, drained: str) -> str:  # noqa: ARG002
        """Not here, either."""
        raise ActuatorError(Failure.UNSUPPORTED, f"no drain of {service} in Kubernetes")

    def _name(self, service: str) -> str:
        return self._deployments.get(service, service)

    async def _deployment(self, service: str) -> Any:
        return await self._call(self._apps.read_namespaced_deployment, self._name(service), self._namespace)

    async def _pods(self, deployment: Any) -> list[Any]:
        labels = deployment.spec.selector.match_labels or {}
        if not labels:
            raise ActuatorError(Failure.REFUSED, f"{deployment.metadata.name} selects no pods by labels")
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        listed = await self._call(self._core.list_namespaced_pod, self._namespace, label_selector=selector)
        return [pod for pod in listed.items if pod.metadata.deletion_timestamp is None]

    def _require_ready(self, deployment: Any) -> None:
        wanted, ready = _replicas(deployment), deployment.status.ready_replicas or 0
        if ready < wanted or wanted < 2:
            raise ActuatorError(Failure.REFUSED, f"{deployment.metadata.name}: {ready} of {wanted} replicas are ready")

    async def _evict(self, pod: Any, deadline: float) -> None:
        """One pod, and no other that got its name. A disruption budget that refuses is waited for."""
        body = client.V1Eviction(
            metadata=client.V1ObjectMeta(name=pod.metadata.name, namespace=self._namespace),
            delete_options=client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=pod.metadata.uid)),
        )
        while True:
            try:
                await self._call(self._core.create_namespaced_pod_eviction, pod.metadata.name, self._namespace, body)
            except _Budget as error:
                if time.monotonic() + self._times.look > deadline:
                    raise ActuatorError(Failure.REFUSED, f"{pod.metadata.name}: {error}") from error
                await asyncio.sleep(self._times.look)
            else:
                return

    async def _until_ready(self, service: str, gone: set[str], deadline: float) -> None:
        while True:
            deployment = await self._deployment(service)
            pods = await self._pods(deployment)
            # counted from the pods: the Deployment's own count lags behind an eviction
            ready = [pod for pod in pods if pod.metadata.uid not in gone and _is_ready(pod)]
            if len(ready) >= _replicas(deployment):
                return
            if time.monotonic() > deadline:
                raise ActuatorError(Failure.TIMEOUT, f"{self._name(service)} was not ready again in time")
            await asyncio.sleep(self._times.look)

    async def _after_timeout(self, name: str, to: int, late: ActuatorError) -> str:
        try:
            read = await self._call(self._apps.read_namespaced_deployment_scale, name, self._namespace)
        except ActuatorError as error:
            raise ActuatorError(Failure.TIMEOUT, f"{late}; nobody knows whether it was done: {error}") from error
        if _replicas(read) != to:
            raise ActuatorError(Failure.TIMEOUT, f"{late}; it was not done: {_replicas(read)} replicas") from late
        return f"{name}: spec.replicas {to}, its answer came too late"

    async def _call(self, ask: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        # The client's own limit ends the thread; ours comes a little later, for what that does not cover.
        limit = self._times.call
        try:
            async with asyncio.timeout(limit * 2):
                return await asyncio.to_thread(ask, *arguments, _request_timeout=(limit, limit), **more)
        except (
            urllib3.exceptions.ConnectTimeoutError
        ) as error:  # a refused connection is one of these: nothing was sent
            raise ActuatorError(Failure.UNAVAILABLE, f"the API server: {error}") from error
        except (TimeoutError, urllib3.exceptions.TimeoutError) as error:
            raise ActuatorError(Failure.TIMEOUT, f"the API server did not answer in {limit:g} s") from error
        except ApiException as error:
            raise _failure(error) from error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ActuatorError(Failure.UNAVAILABLE, f"the API server: {type(error).__name__}: {error}") from error


def _replicas(told: Any) -> int:
    """Of a Deployment or a Scale. A server leaves a zero out."""
    if told is None or told.spec is None or told.metadata is None:
        raise ActuatorError(Failure.UNAVAILABLE, "the API server's answer has no spec")
    return int(told.spec.replicas or 0)


def _is_ready(pod: Any) -> bool:
    conditions = (pod.status.conditions if pod.status else None) or []
    return any(each.type == "Ready" and each.status == "True" for each in conditions)


class _Budget(ActuatorError):
    """A disruption budget refuses the eviction for now."""


def _failure(error: ApiException) -> ActuatorError:
    text = f"{error.status} {error.reason}: {str(error.body or '').strip()[:300]}"
    if error.status == _TOO_MANY_REQUESTS:
        return _Budget(Failure.REFUSED, f"a disruption budget refuses: {text}")
    return ActuatorError(_FAILURES.get(int(error.status or 0), Failure.UNAVAILABLE), text)
