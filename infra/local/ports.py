"""Which of the stack's ports are taken, and by whom, before anything is started."""

import errno
import ipaddress
import socket
from collections.abc import Iterable

import psutil

from infra.local.errors import StackError
from infra.local.settings import PREFIX, LocalSettings

LOOPBACK = "127.0.0.1"
LOOPBACK_ONLY = frozenset(
    {
        "nats_port",
        "nats_monitor_port",
        "postgres_port",
        "port_control_room",
        "port_page",
        "port_predictor",
        "port_remediation",
        "prometheus_port",
        "alertmanager_port",
        "envoy_stats_port",
    }
)
"""The infrastructure never listens elsewhere, whatever `bind` says."""


def refuse_taken(settings: LocalSettings) -> None:
    """Check every port that the stack may use.

    Raises:
        StackError: one line for each taken port: its owner as far as it can be seen, and the setting that moves it.
    """
    lines = [
        f"Port {port} is taken by {owner(port)}; move it with {setting} ({PREFIX}{setting.upper()}=...)."
        for setting, port in settings.ports()
        if not free(LOOPBACK if setting in LOOPBACK_ONLY else settings.bind, port)
    ]
    if lines:
        raise StackError("\n".join(lines), "Nothing was started.")


def free(address: str, port: int) -> bool:
    """Whether this process could listen there, alone.

    Raises:
        StackError: the address is not one of this machine's.
    """
    family = socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections that are closing are no obstacle, and a listener still is one.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise StackError(f"{address} is not an address of this machine.", "Change bind.") from error
            if error.errno == errno.EACCES:
                raise StackError(f"Port {port} is reserved to root.", "Choose one from 1024 up.") from error
            return False
    return True


def owner(port: int) -> str:
    """The process that listens on a port: `pid 42 (python -m http.server 8080)`, or why it cannot be named."""
    try:
        connections: Iterable[object] = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return "a process that only root may see"
    for connection in connections:
        address = getattr(connection, "laddr", None)
        if getattr(connection, "status", "") != psutil.CONN_LISTEN or not address or address.port != port:
            continue
        pid = getattr(connection, "pid", None)
        if pid is None:
            return "a process of another user or container, which cannot be seen from here"
        try:
            command = " ".join(psutil.Process(pid).cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            command = ""
        return f"pid {pid} ({command or 'its command line cannot be seen'})"
    return "a process that cannot be seen from here (another container, or it has just ended)"
