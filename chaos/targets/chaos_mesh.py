"""The objects of Chaos Mesh that experiments make, watch and take back."""

import secrets
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chaos.render import mesh
from chaos.render.fault import Fault
from chaos.targets.cluster_api import ClusterApi, Missing
from chaos.targets.target import TargetError

MADE, OTHERS = ("podchaos", "httpchaos"), ("networkchaos", "stresschaos", "iochaos", "dnschaos", "timechaos")
RESOURCES = (*MADE, *OTHERS, "workflows")
"""All that acts. Not Schedules: they act through Workflows, and the week's plan is none of ours."""

_EVERY_SECONDS = 0.25


class ChaosMesh:
    """Chaos Mesh in one namespace. `patience`: seconds for it to put a fault in, and to take all back."""

    def __init__(self, api: ClusterApi, namespace: str, patience: float = 15.0) -> None:
        self._api, self._namespace, self._patience = api, namespace, patience

    def put(self, name: str, fault: Fault, seconds: float) -> None:
        """Make an object, and wait until its fault is in every pod that it names. It ends by itself after `seconds`.

        Raises:
            TargetError: it was not put in in time. The object is deleted then, as well as that can be done.
        """
        resource = fault.kind.lower()
        body = mesh.experiment(f"{name}-{secrets.token_hex(3)}", fault, seconds)
        body["metadata"]["namespace"] = self._namespace
        body["spec"] = _within(self._namespace, body["spec"])
        made = body["metadata"]["name"]
        try:
            self._api.call("POST", self._path(resource), body)
        except Missing as error:
            raise TargetError(f"Chaos Mesh is not installed: {error}") from error
        try:
            self._until_in(resource, made)
        except TargetError:
            self._delete(resource, made)
            raise
        if fault.is_an_instant:  # has no end of its own, so that it would count as acting for ever
            self._delete(resource, made)

    def acting(self) -> list[str]:
        """One line for each object that has not ended."""
        return [
            f"{resource} {found['metadata']['name']}"
            for resource, found in self._all()
            if not _over(resource, found) or "deletionTimestamp" in found["metadata"]
        ]

    def clear(self) -> None:
        """Delete all, whoever made them, and wait a while: until it has taken a fault back an object stays."""
        there = self._all()
        if not there:
            return
        with ThreadPoolExecutor(len(RESOURCES)) as pool:
            list(pool.map(lambda each: self._delete(each[0], each[1]["metadata"]["name"]), there))
        patience = time.monotonic() + self._patience
        while self._all() and time.monotonic() < patience:
            time.sleep(_EVERY_SECONDS)

    def _until_in(self, resource: str, name: str) -> None:
        patience = time.monotonic() + self._patience
        while True:
            found = self._api.call("GET", f"{self._path(resource)}/{name}")
            if _is(found, "AllInjected"):
                return
            if time.monotonic() > patience:
                raise TargetError(f"{resource} {name} was not put in within {self._patience:g} s: {_why(found)}")
            time.sleep(_EVERY_SECONDS)

    def _all(self) -> list[tuple[str, dict[str, Any]]]:
        def of(resource: str) -> list[tuple[str, dict[str, Any]]]:
            try:
                listed = self._api.call("GET", self._path(resource))
            except Missing:  # not installed, or not this kind
                return []
            return [(resource, each) for each in listed["items"]]

        with ThreadPoolExecutor(len(RESOURCES)) as pool:
            return [each for found in pool.map(of, RESOURCES) for each in found]

    def _delete(self, resource: str, name: str) -> None:
        try:
            self._api.call("DELETE", f"{self._path(resource)}/{name}")
        except Missing:
            return

    def _path(self, resource: str) -> str:
        return f"/apis/{mesh.API}/namespaces/{self._namespace}/{resource}"


def _within(namespace: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The renderer's specs are for its own namespace."""
    selector = dict(spec["selector"])
    if "namespaces" in selector:
        selector["namespaces"] = [namespace]
    return {**spec, "selector": selector}


def _over(resource: str, found: Mapping[str, Any]) -> bool:
    if resource == "workflows":
        return "endTime" in found.get("status", {})
    return _is(found, "AllRecovered") or (found["spec"].get("action") == "pod-kill" and _is(found, "AllInjected"))


def _is(found: Mapping[str, Any], condition: str) -> bool:
    conditions = found.get("status", {}).get("conditions") or []
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)


def _why(found: Mapping[str, Any]) -> str:
    records = found.get("status", {}).get("experiment", {}).get("containerRecords") or []
    said = [event.get("message", "") for record in records for event in record.get("events") or []]
    return next((each for each in reversed(said) if each), "no pod was selected" if not records else "no reason given")
