"""Which number of infra/mesh/traffic.yaml stands where in the files of Istio and Kubernetes; and the comparison."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from infra.mesh.traffic import seconds
from tests.unit.manifests.building import INFRA, SERVICES

TRAFFIC = "mesh/traffic.yaml"

_LIMITS = "istio/edge-limits.yaml"
_POLICY = "spec.trafficPolicy"
_READINESS = "spec.template.spec.containers.0.readinessProbe"
_FILTER = "spec.configPatches.{}.patch.value.typed_config"

_IN_EVERY_DESTINATION = {
    "connect_timeout": f"{_POLICY}.connectionPool.tcp.connectTimeout",
    "upstream_idle_timeout": f"{_POLICY}.connectionPool.http.idleTimeout",
    "outlier_detection.consecutive_5xx": f"{_POLICY}.outlierDetection.consecutive5xxErrors",
    "outlier_detection.consecutive_gateway_failure": f"{_POLICY}.outlierDetection.consecutiveGatewayErrors",
    "outlier_detection.interval": f"{_POLICY}.outlierDetection.interval",
    "outlier_detection.base_ejection_time": f"{_POLICY}.outlierDetection.baseEjectionTime",
    "outlier_detection.max_ejection_percent": f"{_POLICY}.outlierDetection.maxEjectionPercent",
    "outlier_detection.min_health_percent": f"{_POLICY}.outlierDetection.minHealthPercent",
}
_IN_A_DESTINATION = {
    "max_connections": f"{_POLICY}.connectionPool.tcp.maxConnections",
    "max_pending_requests": f"{_POLICY}.connectionPool.http.http1MaxPendingRequests",
    "max_requests": f"{_POLICY}.connectionPool.http.http2MaxRequests",
    "max_retries": f"{_POLICY}.connectionPool.http.maxRetries",
}

ELSEWHERE: dict[str, tuple[Any, str]] = {
    "lesson.attempts": (2, "a lesson on the local stack, switched by a runtime key that Istio does not have"),
    "lesson.per_try_timeout": ("0.25s", "as the lesson's attempts"),
    "retries.per_try_idle_timeout": ("0s", "0 is none, and VirtualService has no word for it"),
    "health_check.interval": ("1s", "the kubelet asks at the tutorial's pace; Envoy ejects sooner, by what it sees"),
    "health_check.timeout": ("1s", "as the interval"),
    "connection_requests": (
        1000,
        "between sidecars there is one connection of HTTP/2, and a handshake for each new one",
    ),
}
"""What has no counterpart: the value for which the reason holds, and the reason."""

_MESSAGE = "{key}: {here} in infra/{traffic}, {there} in infra/{file} ({path})"


@dataclass(frozen=True, slots=True)
class Place:
    """One value in one file: a path of keys and indexes, with dots."""

    file: str
    path: str

    def read(self, files: dict[str, Any]) -> Any:
        """The value there."""
        return at(files[self.file], self.path)


def files() -> dict[str, Any]:
    """Every file that holds a number of the mesh, by its name below infra/; each is one object."""
    names = [
        TRAFFIC,
        _LIMITS,
        "istio/edge-routes.yaml",
        "istio/inventory-routes.yaml",
        "kubernetes/base/service.yaml",
        *(f"istio/{service}-destination.yaml" for service in SERVICES),
        *(f"istio/canary/{step}.yaml" for step in ("90-10", "50-50", "0-100")),
    ]
    return {name: yaml.safe_load((INFRA / name).read_text(encoding="utf-8")) for name in names}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value of a mapping, with its path; a list counts as one value."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def at(value: Any, path: str) -> Any:
    """What is at a path."""
    for key in path.split("."):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def changed(held: dict[str, Any], place: Place) -> dict[str, Any]:
    """A copy of all files with another value in one place."""
    copied = copy.deepcopy(held)
    parent, _, key = place.path.rpartition(".")
    target, old = at(copied[place.file], parent) if parent else copied[place.file], place.read(held)
    new: Any = "77s" if isinstance(old, str) and old[-1:] == "s" and old[0].isdigit() else None
    if new is None:
        odd: dict[type, Any] = {list: ["reset"], dict: {"x-other": {"exact": "v1"}}}
        new = old + 1 if isinstance(old, int) else odd.get(type(old), f"{old}-other")
    target[int(key) if isinstance(target, list) else key] = new
    return copied


def places(key: str, held: dict[str, Any]) -> list[Place]:
    """Where a number of traffic.yaml stands; empty when it stands nowhere."""
    if key in _IN_EVERY_DESTINATION:
        return [Place(f"istio/{service}-destination.yaml", _IN_EVERY_DESTINATION[key]) for service in SERVICES]
    if key in _SINGLE:
        return [_SINGLE[key]]
    parts = key.split(".")
    if parts[0] == "retries" and key not in ELSEWHERE:
        field = {"attempts": "attempts", "retry_on": "retryOn"}[parts[1]]
        return [Place(file, f"{path}.retries.{field}") for file, path, _ in routes(held)]
    if parts[0] == "services":
        return _of_service(parts[1], parts[2:], held)
    return []


_SINGLE = {
    "edge.rate_limit.requests_per_second": Place(_LIMITS, _FILTER.format(0) + ".token_bucket.tokens_per_fill"),
    "edge.rate_limit.burst": Place(_LIMITS, _FILTER.format(0) + ".token_bucket.max_tokens"),
    "edge.max_request_bytes": Place(_LIMITS, _FILTER.format(1) + ".max_request_bytes"),
    "edge.max_connections": Place(_LIMITS, _FILTER.format(2) + ".max_connections"),
    "edge.request_headers_timeout": Place(_LIMITS, _FILTER.format(3) + ".request_headers_timeout"),
    "edge.request_timeout": Place(_LIMITS, _FILTER.format(3) + ".request_timeout"),
    "edge.idle_timeout": Place(_LIMITS, _FILTER.format(3) + ".common_http_protocol_options.idle_timeout"),
    "health_check.path": Place("kubernetes/base/service.yaml", f"{_READINESS}.httpGet.path"),
    "health_check.unhealthy_threshold": Place("kubernetes/base/service.yaml", f"{_READINESS}.failureThreshold"),
    "health_check.healthy_threshold": Place("kubernetes/base/service.yaml", f"{_READINESS}.successThreshold"),
}


def routes(held: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Every HTTP route: file, path in it, the route."""
    return [
        (file, f"spec.http.{index}", route)
        for file, content in held.items()
        if content.get("kind") == "VirtualService"
        for index, route in enumerate(content["spec"]["http"])
    ]


def target(route: dict[str, Any]) -> str:
    """The service that a route leads to."""
    (host,) = {each["destination"]["host"] for each in route["route"]}
    return str(host).partition(".")[0]


def differences(held: dict[str, Any]) -> list[str]:
    """Where a number of traffic.yaml and its counterparts differ, and numbers that have neither place nor reason."""
    found = []
    for key, value in leaves(held[TRAFFIC]):
        where = places(key, held)
        if not where:
            expected, reason = ELSEWHERE.get(key, (None, "stands nowhere"))
            if value != expected:
                found.append(f"{key}: {value} in infra/{TRAFFIC}: {reason}")
        for place in where:
            there = place.read(held)
            if _plain(value) != _plain(there):
                found.append(
                    _MESSAGE.format(key=key, here=value, traffic=TRAFFIC, there=there, file=place.file, path=place.path)
                )
    return found


def _of_service(service: str, parts: list[str], held: dict[str, Any]) -> list[Place]:
    mine = [(file, path, route) for file, path, route in routes(held) if target(route) == service]
    if parts[0] == "connection_pool":
        return [Place(f"istio/{service}-destination.yaml", _IN_A_DESTINATION[parts[1]])]
    if parts[0] == "timeouts":
        named = {prefix for prefix in held[TRAFFIC]["services"][service]["timeouts"] if prefix != "/"}
        return [
            Place(file, f"{path}.timeout")
            for file, path, route in mine
            if (parts[1] in _prefixes(route) if parts[1] != "/" else not named & _prefixes(route))
        ]
    return _of_versions(parts[1], mine)


def _of_versions(word: str, mine: list[tuple[str, str, dict[str, Any]]]) -> list[Place]:
    here = [(file, path, route) for file, path, route in mine if file.endswith("/90-10.yaml")]
    if word == "header":  # its name is a key there
        return [
            Place(file, f"{path}.match.{index}.headers")
            for file, path, route in here
            for index, each in enumerate(route.get("match", []))
            if "headers" in each
        ]
    return [
        Place(file, f"{path}.route.{index}.weight")
        for file, path, route in here
        for index, each in enumerate(route["route"])
        if "weight" in each and each["destination"]["subset"] == word
    ]


def _prefixes(route: dict[str, Any]) -> set[str]:
    return {each["uri"]["prefix"] for each in route.get("match", []) if "prefix" in each.get("uri", {})}


def _plain(value: Any) -> Any:
    if isinstance(value, list | dict):
        return ",".join(value)
    if isinstance(value, str) and value[:1].isdigit() and value.endswith("s"):
        return seconds(value)
    return value
