"""Who may reach whom, worked out from NetworkPolicies and AuthorizationPolicies as Kubernetes and Istio do."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.unit.manifests.building import Document, container, of_kind, pod, pod_labels, workloads

Edge = tuple[str, str, int]
"""Caller, who is called, port."""


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody who may send or be sent to; `ports` are those that it listens on."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    ports: tuple[int, ...] = ()


PROMETHEUS = Party("prometheus", "monitoring", {"app.kubernetes.io/name": "prometheus"})
CHAOS_MESH = Party("chaos-mesh", "chaos-mesh", {"app.kubernetes.io/component": "controller-manager"})
ISTIOD = Party("istiod", "istio-system", {"app": "istiod"}, (15012,))
NAMES = Party("names", "kube-system", {"k8s-app": "kube-dns"}, (53,))
WORLD = Party("world", "", {})
NEIGHBOUR = Party("neighbour", "default", {"app": "order", "app.kubernetes.io/name": "prometheus"})
"""Labelled as ours, in another namespace: labels alone must open nothing."""

_PROXY_METRICS = 15020


def parties(documents: tuple[Document, ...], *, meshed: bool) -> list[Party]:
    """Every workload with its ports, replicas of one service with two versions being one."""
    found: dict[str, Party] = {}
    for workload in workloads(documents):
        labels = pod_labels(workload)
        name = labels.get("app") or f"migrate-{labels['migrates']}"
        ports = [port["containerPort"] for port in container(workload).get("ports", [])]
        if meshed and workload["kind"] != "Job":
            ports.append(_PROXY_METRICS)
        found[name] = Party(name, "holdfast", labels, tuple(ports))
    return list(found.values())


def reachable(documents: tuple[Document, ...], senders: Iterable[Party], targets: Iterable[Party]) -> set[Edge]:
    """Every connection that the NetworkPolicies let through at both of its ends."""
    policies = [each["spec"] for each in of_kind(documents, "NetworkPolicy")]
    senders = list(senders)
    return {
        (sender.name, target.name, port)
        for target in targets
        for port in target.ports
        for sender in senders
        if _permits(policies, sender, target, port, "Egress") and _permits(policies, target, sender, port, "Ingress")
    }


def _permits(policies: list[Any], party: Party, other: Party, port: int, direction: str) -> bool:
    if party.namespace != "holdfast":
        return True  # no policies of ours there
    selecting = [each for each in policies if direction in each["policyTypes"] and _selects(each["podSelector"], party)]
    word, peer = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return not selecting or any(
        _port_matches(rule, port) and (peer not in rule or any(_peer_matches(each, other) for each in rule[peer]))
        for policy in selecting
        for rule in policy.get(word, [])
    )


def _port_matches(rule: Mapping[str, Any], port: int) -> bool:
    return "ports" not in rule or any(each["port"] == port for each in rule["ports"])


def _peer_matches(peer: Mapping[str, Any], party: Party) -> bool:
    if "ipBlock" in peer:
        return False  # of addresses that no pod has
    if "namespaceSelector" in peer:
        if peer["namespaceSelector"]["matchLabels"] != {"kubernetes.io/metadata.name": party.namespace}:
            return False
    elif party.namespace != "holdfast":
        return False
    return _selects(peer.get("podSelector", {}), party)


def _selects(selector: Mapping[str, Any], party: Party) -> bool:
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    assert all(each["operator"] == "In" for each in selector.get("matchExpressions", []))
    return selector.get("matchLabels", {}).items() <= party.labels.items() and all(
        party.labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
    )


@dataclass(frozen=True, slots=True)
class Grant:
    """What one AuthorizationPolicy lets one caller do: an HTTP operation, or a connection to a port."""

    caller: str
    target: str
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()

    def covers(self, method: str, path: str) -> bool:
        """Whether a request is granted."""
        return method in self.methods and any(_path_matches(pattern, path) for pattern in self.paths)


def grants(documents: tuple[Document, ...]) -> list[Grant]:
    """Everything that the AuthorizationPolicies allow; callers by service account, anybody is `world`."""
    found = []
    for policy in of_kind(documents, "AuthorizationPolicy"):
        spec = policy["spec"]
        assert spec.get("action", "ALLOW") == "ALLOW"
        for rule in spec.get("rules", []):
            callers = [name for each in rule.get("from", []) for name in each["source"]["principals"]] or ["world"]
            for caller in callers:
                for each in rule["to"]:
                    operation = each["operation"]
                    found.append(
                        Grant(
                            caller.removeprefix("cluster.local/ns/holdfast/sa/"),
                            spec["selector"]["matchLabels"]["app"],
                            tuple(operation.get("methods", ())),
                            tuple(operation.get("paths", ())),
                            tuple(int(port) for port in operation.get("ports", ())),
                        )
                    )
    return found


def accounts(documents: tuple[Document, ...]) -> dict[str, str]:
    """The service account of each workload, by the workload's name."""
    return {pod_labels(each).get("app", ""): pod(each)["serviceAccountName"] for each in workloads(documents)}


def _path_matches(pattern: str, path: str) -> bool:
    parts = (re.escape(part) for part in pattern.split("{*}"))
    return re.fullmatch("[^/]+".join(parts), path) is not None
