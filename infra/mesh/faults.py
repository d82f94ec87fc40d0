"""Faults in the mesh: Envoy's fault filter, switched at run time on one route.

Each route reads its own runtime keys (`fault.payment.process.delay_percent`, ...), all 0 until somebody sets them. They
live in Envoy's memory: a restarted Envoy has none.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.envoy.admin import Admin
from infra.mesh import traffic

LONGEST_DELAY_MS = 60_000
_KEYS = ("delay_percent", "delay_ms", "abort_percent", "abort_status")
_FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A route of the mesh: a service of `traffic.yaml` and one of its path prefixes (`/` is every other path)."""

    service: str
    path: str = "/"

    def key(self, name: str) -> str:
        """The runtime key of one of the fault's numbers on this route."""
        return f"fault.{self.service}.{self.path.strip('/').replace('/', '-') or 'rest'}.{name}"

    @property
    def keys(self) -> tuple[str, ...]:
        """All runtime keys of the route's fault."""
        return tuple(self.key(name) for name in _KEYS)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to the requests of one route. Percent of requests; delays in milliseconds; 0 is off."""

    route: Route
    delay_ms: int = 0
    delay_percent: int = 0
    abort_status: int = 0
    abort_percent: int = 0

    def __post_init__(self) -> None:
        for name in ("delay_percent", "abort_percent"):
            if not 0 <= getattr(self, name) <= 100:
                raise ValueError(f"{name}: 0 to 100")
        if not 0 <= self.delay_ms <= LONGEST_DELAY_MS:
            raise ValueError(f"delay_ms: 0 to {LONGEST_DELAY_MS}")
        if self.abort_percent and not 400 <= self.abort_status <= 599:
            raise ValueError("abort_status: 400 to 599")
        if self.delay_percent and not self.delay_ms:
            raise ValueError("delay_ms: a delay needs a length")


class UnknownRoute(ValueError):
    """The mesh has no such route; the message names those that it has."""


def routes() -> list[Route]:
    """Every route that a fault can be set on."""
    return [Route(service, path) for service, path in traffic.load().routes()]


def route_for(service: str, path: str = "/") -> Route:
    """The route with exactly this path prefix.

    Raises:
        UnknownRoute: there is none.
    """
    wanted, known = Route(service, path), routes()
    if wanted not in known:
        names = ", ".join(f"{route.service} {route.path}" for route in known)
        raise UnknownRoute(f"no route {service} {path}; there are: {names}")
    return wanted


def set_fault(
    socket: Path,
    route: Route,
    *,
    delay_ms: int = 0,
    delay_percent: int = 0,
    abort_status: int = 0,
    abort_percent: int = 0,
) -> Fault:
    """Set the fault of one route, in place of what was set before.

    Args:
        socket: the Unix socket of Envoy's administration.

    Raises:
        ValueError: a number is out of range.
        infra.envoy.admin.AdminError: Envoy does not answer, or refuses.
    """
    fault = Fault(route, delay_ms, delay_percent, abort_status, abort_percent)
    put(socket, fault)
    return fault


def put(socket: Path, fault: Fault) -> None:
    """As `set_fault`, of a fault that is checked already."""
    Admin(socket).modify_runtime({fault.route.key(name): str(getattr(fault, name)) for name in _KEYS})


def clear(socket: Path, *which: Route) -> None:
    """Switch the faults of these routes off, or of all.

    Raises:
        infra.envoy.admin.AdminError: Envoy does not answer.
    """
    # An empty value takes a key out of the runtime.
    Admin(socket).modify_runtime({key: "" for route in which or routes() for key in route.keys})


def current(socket: Path) -> list[Fault]:
    """The faults that are on.

    Raises:
        infra.envoy.admin.AdminError: Envoy does not answer.
    """
    entries = Admin(socket).runtime()
    found = (Fault(route, *(_number(entries, route, name) for name in _ORDER)) for route in routes())
    return [fault for fault in found if fault.delay_percent or fault.abort_percent]


_ORDER = ("delay_ms", "delay_percent", "abort_status", "abort_percent")


def filters(known: Iterable[Route]) -> dict[str, dict[str, Any]]:
    """The fault filter of each route, by service and path, as a route's `typed_per_filter_config`."""
    found: dict[str, dict[str, Any]] = {}
    for route in known:
        settings = {
            "@type": _FAULT,
            # Lengths must be positive in the file; what counts are the keys below.
            "delay": {"fixed_delay": "0.1s", "percentage": {"numerator": 0}},
            "abort": {"http_status": 503, "percentage": {"numerator": 0}},
            "delay_percent_runtime": route.key("delay_percent"),
            "delay_duration_runtime": route.key("delay_ms"),
            "abort_percent_runtime": route.key("abort_percent"),
            "abort_http_status_runtime": route.key("abort_status"),
        }
        found.setdefault(route.service, {})[route.path] = {"fault": settings}
    return found


def _number(entries: dict[str, str], route: Route, name: str) -> int:
    return int(entries.get(route.key(name)) or 0)
