"""What the renderer knows of the cluster: names, labels and sizes of infra/kubernetes. A test compares each."""

import re
from typing import Any

NAMESPACE = "holdfast"
PART_OF = {"app.kubernetes.io/part-of": "holdfast"}
SERVICES = ("order", "payment", "inventory")
CONTAINER = "service"
PORT = 8080

DATABASE = {"app": "postgres"}
DATABASE_CONTAINER = "postgres"
DATABASE_VOLUME = "/var/lib/postgresql"

PROGRAMS = {"nats": {"app": "nats"}, "control-room": {"app.kubernetes.io/component": "traces"}}
"""Labels of what is no service, by its name in the local stack; spans go elsewhere in a cluster."""

FEWEST_PODS = {"order": 2, "payment": 3, "inventory": 2}
"""The least of all overlays, payment's two versions together."""

FREE_MEMORY_MB = 128
"""A pod's limit less its request: what a stressor may take before the kernel kills."""

GATE = f"http://slo-gate.{NAMESPACE}.svc.cluster.local:{PORT}"
PROMETHEUS = "http://prometheus-operated.monitoring.svc.cluster.local:9090"

_REPLICA = re.compile(r"^(?P<program>[a-z]+(?:-[a-z]+)*)(?:-(?P<version>v\d+))?(?:-(?P<number>\d+))?$")


def labels(program: str) -> dict[str, str] | None:
    """The labels of a program of the local stack (`payment`, `payment-v2`, `inventory-2`, `nats`); `None` when its pods
    are not in our namespace."""
    named = _REPLICA.match(program)
    if named is None:
        return None
    if named["program"] in SERVICES:
        return {"app": named["program"]} | ({"version": named["version"]} if named["version"] else {})
    return PROGRAMS.get(named["program"])


def is_one_replica(program: str) -> bool:
    """Whether the name is that of one replica (`payment-1`), and not of all."""
    named = _REPLICA.match(program)
    return named is not None and named["number"] is not None


def selector(of: dict[str, str]) -> dict[str, Any]:
    """Chaos Mesh's selector of pods in our namespace."""
    return {"namespaces": [NAMESPACE], "labelSelectors": of}


def mode(service: str, share: float) -> dict[str, str]:
    """Which of a service's pods. Chaos Mesh rounds a percentage down: of a few pods that may be none at all."""
    if share >= 1:
        return {"mode": "all"}
    if int(FEWEST_PODS[service] * share) < 1:
        return {"mode": "one"}
    return {"mode": "fixed-percent", "value": f"{share * 100:.0f}"}
