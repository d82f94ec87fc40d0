"""HTTP faults for pods with a proxy, where HTTPChaos does not act: the mesh's own fault filter.

Two VirtualServices for one host do not add up in a mesh, so each file is the service's own, with routes of the fault
before those that they take requests from. Nothing ends it but putting the own one back.
"""

import copy
from pathlib import Path
from typing import Any

import yaml

from chaos.render import cluster
from chaos.render.fault import HttpFault

_ISTIO = Path(__file__).resolve().parents[2] / "infra" / "istio"
OWN = {"payment": "canary/90-10.yaml", "inventory": "inventory-routes.yaml"}
"""The routes that are in force, by service, below infra/istio."""

_CUT_STATUS = 503

Document = dict[str, Any]


def routes(fault: HttpFault) -> Document:
    """The VirtualService of the fault's service, with the fault."""
    own = yaml.safe_load((_ISTIO / OWN[fault.service]).read_text(encoding="utf-8"))
    http: list[Document] = []
    for route in own["spec"]["http"]:
        http += [*_broken(route, fault), route]
    metadata = {"name": own["metadata"]["name"], "namespace": cluster.NAMESPACE, "labels": dict(cluster.PART_OF)}
    return {
        "apiVersion": own["apiVersion"],
        "kind": own["kind"],
        "metadata": metadata,
        "spec": {"hosts": own["spec"]["hosts"], "http": http},
    }


def differs(fault: HttpFault) -> str:
    """How it is not the same as in the local stack."""
    notes = []
    if fault.cut:
        notes.append(f"the proxy answers {_CUT_STATUS}, as it can cut no connection")
    if fault.version:
        notes.append(
            "the proxy does not know yet which version a call will reach: that version's share of all calls fails"
        )
    if fault.delay_ms and fault.status and fault.share < 1:
        notes.append("delay and status are drawn apart: some calls get only one of them")
    if not fault.by_a_proxy and (fault.status or fault.cut):
        notes.append("a call that fails never reaches the service")
    return "; ".join(notes)


def _broken(route: Document, fault: HttpFault) -> list[Document]:
    share = fault.share * _part(route, fault.version)
    matches = _matches(route, fault)
    if not matches or not share:
        return []
    # Without timeout and retries: Istio applies neither to what it injects.
    broken = {"name": f"{route['name']}-broken", "match": matches, "fault": _fault(fault, share)}
    return [broken | {"route": copy.deepcopy(route["route"])}]


def _part(route: Document, version: str) -> float:
    """The share of a route's requests that go to a version."""
    if not version:
        return 1.0
    destinations = route["route"]
    if len(destinations) == 1:
        return float(destinations[0]["destination"].get("subset") == version)
    return sum(float(each["weight"]) for each in destinations if each["destination"].get("subset") == version) / 100


def _matches(route: Document, fault: HttpFault) -> list[Document]:
    """What a route takes, cut down to what the fault is for."""
    found = []
    for match in route.get("match") or [{}]:
        taken = match.get("uri", {}).get("prefix", "/")
        if not (fault.path.startswith(taken) or taken.startswith(fault.path)):
            continue
        narrow = {**match, "uri": {"prefix": max(taken, fault.path, key=len)}}
        if fault.method:
            narrow["method"] = {"exact": fault.method}
        found.append(narrow)
    return found


def _fault(fault: HttpFault, share: float) -> Document:
    percentage = {"value": round(share * 100, 3)}
    found: Document = {}
    if fault.delay_ms:
        found["delay"] = {"percentage": percentage, "fixedDelay": f"{fault.delay_ms}ms"}
    if fault.status or fault.cut:
        found["abort"] = {"percentage": dict(percentage), "httpStatus": fault.status or _CUT_STATUS}
    return found
