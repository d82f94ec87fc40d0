"""The platform under a campaign: started and stopped by the stack's own commands, reached over HTTP."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ml.features.signals import SERVICES

_ROOT = Path(__file__).resolve().parents[2]
_UP_SECONDS, _COMMAND_SECONDS = 240.0, 60.0

_PORTS = {
    "PORT": 0, "PORT_PAYMENT": 1, "PORT_PAYMENT_V2": 2, "PORT_INVENTORY": 3, "PORT_CONTROL_ROOM": 4,
    "NATS_PORT": 5, "NATS_MONITOR_PORT": 6, "POSTGRES_PORT": 7, "PROMETHEUS_PORT": 8, "ALERTMANAGER_PORT": 9,
    "ENVOY_STATS_PORT": 10,
    "REPLICA_PORT_ORDER": 20, "REPLICA_PORT_PAYMENT": 30, "REPLICA_PORT_PAYMENT_V2": 40, "REPLICA_PORT_INVENTORY": 50,
}  # fmt: skip
"""Where each port of the stack lies, from the first one of its block of a hundred."""

_SLOTS = 4
"""Replicas that a service can be scaled to, by default."""


class PlatformError(Exception):
    """A command of the stack failed, or a replica did not answer; the text says what it printed."""


class ReplicaAway(PlatformError):
    """A replica did not answer, or with an error of its own: it may be dying of a fault."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One stack of a campaign: its directory, its block of ports, and how it is sized."""

    directory: Path
    first_port: int
    memory_mb: int
    replicas: int = 2

    @property
    def predictor_port(self) -> int:
        """Of a predictor that watches this platform."""
        return self.first_port + 60

    @property
    def remediation_port(self) -> int:
        """Of a remediator that acts on it."""
        return self.first_port + 61

    def environment(self) -> dict[str, str]:
        """The stack's settings, as the variables that it reads."""
        settings = {name: self.first_port + offset for name, offset in _PORTS.items()}
        chosen: dict[str, object] = settings | {
            "STATE_DIR": self.directory,
            "DATABASE": "postgres",
            "SCRAPE_SECONDS": 1,
            "SERVICE_MEMORY_MB": self.memory_mb,
            "FAULT_INJECTION": "on",
            "PAGE": "off",
            "PREDICTION": "off",
            "LOG_LEVEL": "warning",
            "PROMETHEUS_DAYS": 2,
        }
        for service in SERVICES:
            chosen[f"REPLICAS_{service.upper()}"] = 1 if service == "order" else self.replicas
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        return kept | {f"HOLDFAST_{name}": str(value) for name, value in chosen.items()}


class Platform:
    """One running stack."""

    def __init__(self, layout: Layout, client: httpx.AsyncClient) -> None:
        self._layout, self._client = layout, client
        self.edge = self._url("PORT")
        self.inventory = self._url("PORT_INVENTORY")
        self.prometheus = self._url("PROMETHEUS_PORT")

    def _url(self, port: str) -> str:
        return f"http://127.0.0.1:{self._layout.first_port + _PORTS[port]}"

    def replicas(self, service: str) -> dict[str, str]:
        """Name and address of every replica that the campaign runs; payment's second version is one more."""
        first = self._layout.first_port + _PORTS[f"REPLICA_PORT_{service.upper()}"]
        count = 1 if service == "order" else self._layout.replicas
        found = {f"{service}-{number}": f"http://127.0.0.1:{first + number - 1}" for number in range(1, count + 1)}
        if service == "payment":
            found["payment-v2-1"] = self._url("REPLICA_PORT_PAYMENT_V2")
        return found

    def slots(self, service: str) -> list[str]:
        """Addresses of all replicas that the service could be scaled to, of the first version."""
        first = self._layout.first_port + _PORTS[f"REPLICA_PORT_{service.upper()}"]
        return [f"http://127.0.0.1:{first + number}" for number in range(_SLOTS)]

    async def faults(self, replica: str) -> list[dict[str, Any]]:
        """What is broken on purpose in one replica now."""
        found: list[dict[str, Any]] = (await self._admin("GET", f"{replica}/admin/faults"))["faults"]
        return found

    async def inject(self, replica: str, fault: Mapping[str, Any]) -> str:
        """Break something in one replica for a while; returns the fault's id."""
        answer = await self._admin("POST", f"{replica}/admin/faults", json=dict(fault))
        return str(answer["id"])

    async def end(self, replica: str, fault: str) -> None:
        """End one fault; one that is over already is no error."""
        await self._admin("DELETE", f"{replica}/admin/faults/{fault}", missing_ok=True)

    async def clear(self, replica: str) -> None:
        """End all faults of one replica; one that does not answer has none left."""
        try:
            await self._admin("DELETE", f"{replica}/admin/faults")
            await self._admin("PUT", f"{replica}/admin/card-network", json={}, missing_ok=True)
        except ReplicaAway:
            return

    async def slow_card_network(self, replica: str, median_ms: float, seconds: float) -> None:
        """Have the card network answer one payment replica slowly."""
        body = {"latency_median_ms": median_ms, "latency_p99_ms": median_ms * 2.5, "seconds": seconds}
        await self._admin("PUT", f"{replica}/admin/card-network", json=body)

    async def command(self, *words: str, seconds: float = _COMMAND_SECONDS) -> str:
        """One command of the stack: what it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "infra.local", *words,
            cwd=_ROOT, env=self._layout.environment(), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(seconds):
                printed, _ = await process.communicate()
        except BaseException:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        text = printed.decode(errors="replace")
        if process.returncode:
            raise PlatformError(f"infra.local {' '.join(words)}: {text.strip()[-800:]}")
        return text

    async def _admin(self, method: str, url: str, *, json: Any = None, missing_ok: bool = False) -> dict[str, Any]:
        token = (self._layout.directory / "secrets/operator/admin_token").read_text().strip()
        try:
            response = await self._client.request(
                method, url, json=json, headers={"authorization": f"Bearer {token}"}, timeout=5
            )
        except httpx.HTTPError as error:
            raise ReplicaAway(f"{method} {url}: {type(error).__name__}") from error
        if response.status_code == 404 and missing_ok:
            return {}
        if response.is_server_error:  # it may have no memory left for an answer
            raise ReplicaAway(f"{method} {url}: {response.status_code}")
        if response.is_error:
            raise PlatformError(f"{method} {url}: {response.status_code} {response.text[:300]}")
        found: dict[str, Any] = response.json()
        return found


@contextmanager
def workplace(name: str) -> Iterator[Path]:
    """A directory for a stack, gone after the block."""
    with tempfile.TemporaryDirectory(prefix=f"holdfast-{name}-") as directory:
        Path(directory).chmod(0o711)  # Postgres has a user of its own, who must get to its files
        yield Path(directory)


@asynccontextmanager
async def running(layout: Layout, client: httpx.AsyncClient) -> AsyncIterator[Platform]:
    """A stack that is up inside the block and down after it."""
    platform = Platform(layout, client)
    try:
        await platform.command("up", "--owner", str(os.getpid()), seconds=_UP_SECONDS)
        yield platform
    finally:
        await asyncio.shield(platform.command("down"))
