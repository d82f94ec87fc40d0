"""Envoy's administration over its Unix socket."""

import contextlib
import http.client
import json
import os
import socket as sockets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

_SECONDS = 3.0
# What an address of a socket holds (sun_path), without the closing zero.
_LONGEST_PATH = 107


class AdminError(Exception):
    """Envoy does not answer, or refuses; the message says which."""


_EJECTED = "failed_outlier_check"


@dataclass(frozen=True, slots=True)
class Member:
    """One replica as Envoy sees it. `failed`: why it gets no requests, empty when it does."""

    cluster: str
    address: str
    port: int
    failed: tuple[str, ...]

    @property
    def passes_its_checks(self) -> bool:
        """Its health checks succeed. It may be ejected all the same, for a while: that is for Envoy to decide."""
        return set(self.failed) <= {_EJECTED}


class Admin:
    """One Envoy. Calls block, for at most 3 s each."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def get(self, path: str) -> str:
        """The body of an answer.

        Raises:
            AdminError: no answer, or none with status 200.
        """
        return self._ask("GET", path)

    def post(self, path: str) -> str:
        """As `get`, for what changes something."""
        return self._ask("POST", path)

    def ready(self) -> bool:
        """Envoy has its configuration and serves."""
        with contextlib.suppress(AdminError):
            return self.get("/ready").strip() == "LIVE"
        return False

    def modify_runtime(self, entries: Mapping[str, str]) -> None:
        """Set keys of the runtime; an empty value takes a key away."""
        self.post(f"/runtime_modify?{urlencode(entries)}")

    def runtime(self) -> dict[str, str]:
        """The keys of the runtime and their values in force."""
        entries: dict[str, Any] = json.loads(self.get("/runtime"))["entries"]
        return {key: str(entry["final_value"]) for key, entry in entries.items()}

    def counter(self, name: str) -> int:
        """One counter or gauge by its full name; 0 while nothing has happened."""
        found = self.get(f"/stats?filter={quote_plus('^' + name.replace('.', '[.]') + '$')}").strip()
        return int(found.rpartition(":")[2]) if found else 0

    def members(self) -> list[Member]:
        """Every replica of every cluster."""
        listed = json.loads(self.get("/clusters?format=json")).get("cluster_statuses", [])
        return [_member(cluster["name"], host) for cluster in listed for host in cluster.get("host_statuses", [])]

    def _ask(self, method: str, path: str) -> str:
        connection = _OverUnixSocket(self._socket)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise AdminError(f"Envoy does not answer at {self._socket}: {error}") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise AdminError(f"Envoy answers {answer.status} to {path.partition('?')[0]}: {body.strip()[:200]}")
        return body


def _member(cluster: str, host: Mapping[str, Any]) -> Member:
    where = host.get("address", {}).get("socket_address", {})
    health = host.get("health_status", {})
    failed = tuple(sorted(name for name, value in health.items() if value is True))
    return Member(cluster, str(where.get("address", "")), int(where.get("port_value", 0)), failed)


class _OverUnixSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        if len(os.fsencode(self._path)) <= _LONGEST_PATH:
            self.sock.connect(str(self._path))
            return
        directory = os.open(self._path.parent, os.O_PATH)
        try:
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)
