"""Where Envoy listens and finds the replicas: on one machine, and among containers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LISTENERS = ("edge", "payment", "payment-v2", "inventory", "stats")
CLUSTERS = ("order", "payment-v1", "payment-v2", "inventory")
_EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


@dataclass(frozen=True, slots=True)
class Topology:
    """One place that Envoy runs in.

    `node` names it in logs. `listen` maps each of `LISTENERS` to (address, port), `replicas` each of `CLUSTERS` to the
    part of a cluster that finds its members. `admin` is the path of the administration's Unix socket, mode 0600.
    """

    node: str
    listen: Mapping[str, tuple[str, int]]
    replicas: Mapping[str, Mapping[str, Any]]
    admin: Path


def compose() -> Topology:
    """Containers: every service on port 8080, found by name; the edge on 8080, metrics on 9902."""
    ports = {"edge": 8080, "payment": 8081, "payment-v2": 8082, "inventory": 8083, "stats": 9902}
    return Topology(
        node="envoy",
        listen={name: ("0.0.0.0", port) for name, port in ports.items()},  # noqa: S104 - what is published is compose's choice
        replicas={name: by_name(name, 8080) for name in CLUSTERS},
        admin=Path("/run/envoy/admin.sock"),
    )


def by_name(host: str, port: int) -> dict[str, Any]:
    """Members of a cluster: every address that a name resolves to."""
    return {
        "cluster_type": {
            "name": "envoy.clusters.dns",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster",
                "dns_lookup_family": "V4_PREFERRED",
                "dns_refresh_rate": "1s",
                "dns_failure_refresh_rate": {"base_interval": "0.5s", "max_interval": "1s"},
            },
        },
        "load_assignment": _assignment(host, {"": (host, port)}),
    }


def by_file(directory: Path, cluster: str) -> dict[str, Any]:
    """Members of a cluster: those in a file that Envoy watches (`write_members`)."""
    return {
        "type": "EDS",
        "eds_cluster_config": {
            "eds_config": {
                "resource_api_version": "V3",
                "path_config_source": {"path": str(members_file(directory, cluster))},
            }
        },
    }


def members_file(directory: Path, cluster: str) -> Path:
    """Where the members of a cluster are written down."""
    return directory / f"{cluster}.json"


def members(cluster: str, replicas: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    """The content of a members file; `replicas` maps names to (address, port)."""
    return {"resources": [{"@type": _EDS, **_assignment(cluster, replicas)}]}


def let_back(file: Path, name: str, address: str, port: int) -> None:
    """Add a replica to a members file, unless it is in it. Without a file there is nobody to tell."""
    try:
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    listed = told["resources"][0]["endpoints"][0]["lb_endpoints"]
    if any(each["endpoint"].get("hostname") == name for each in listed):
        return
    listed += _assignment("", {name: (address, port)})["endpoints"][0]["lb_endpoints"]
    temporary = file.with_suffix(".back")
    temporary.write_text(json.dumps(told), encoding="utf-8")
    temporary.replace(file)


def socket_address(address: str, port: int) -> dict[str, Any]:
    """An address as Envoy writes it."""
    return {"socket_address": {"address": address, "port_value": port}}


def _assignment(cluster: str, replicas: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    found = [
        {"endpoint": {"address": socket_address(*where)} | ({"hostname": name} if name else {})}
        for name, where in replicas.items()
    ]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": found}]}
