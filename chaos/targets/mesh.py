"""Faults in the mesh, as experiments spell them."""

from collections.abc import Mapping
from typing import Any

from chaos.targets.target import TargetError
from infra.mesh import faults


def spoilt(service: str, fault: Mapping[str, Any]) -> faults.Fault:
    """The fault of one route of a service: `path`, `delay_ms`, `abort_status`, ... Raises `TargetError`."""
    numbers = {name: int(value) for name, value in fault.items() if name != "path"}
    try:
        return faults.Fault(faults.route_for(service, str(fault.get("path", "/"))), **numbers)
    except (ValueError, TypeError) as error:
        raise TargetError(f"mesh: {error}") from error
