"""Where Envoy listens and finds the replicas: on one machine, and among containers."""

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


def socket_address(address: str, port: int) -> dict[str, Any]:
    """An address as Envoy writes it."""
    return {"socket_address": {"address": address, "port_value": port}}


def _assignment(cluster: str, replicas: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    found = [
        {"endpoint": {"address": socket_address(*where)} | ({"hostname": name} if name else {})}
        for name, where in replicas.items()
    ]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": found}]}
