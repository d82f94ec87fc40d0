"""Runs the tutorial's services: one process each, a sink for their traces, free ports, a directory of their own."""

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import asyncpg

from infra.local import owner
from infra.local.state import MARKER, StateDirectory

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".local" / "bench" / "bin" / "python"
"""The benches' own environment has the instrumentation that ours does without."""
SERVICES = ("payment", "inventory", "order")
_START_SECONDS, _STOP_SECONDS = 60.0, 5.0


class TutorialStack:
    """The three services, and replicas of payment when asked for. `databases`: SQLAlchemy URL by service."""

    def __init__(self, directory: Path, databases: Mapping[str, str] | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._databases = databases or {name: f"sqlite+aiosqlite:///{directory / name}.sqlite" for name in SERVICES}
        self._ports = {name: free_port() for name in (*SERVICES, "sink")}
        self._own_ports: dict[str, int] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """Where orders are placed."""
        return f"http://127.0.0.1:{self._ports['order']}"

    def up(self) -> None:
        """Start everything and wait until it answers. It ends with this process, even if that is killed."""
        owner.watch(os.getpid(), StateDirectory(self._directory))
        self._start("sink", "tests.bench.peers.sink", [str(self._ports["sink"])], {})
        for name in SERVICES:
            self.start(f"{name}-1")

    def start(self, replica: str) -> None:
        """Start a replica, such as `payment-2`, and wait until it answers."""
        name = replica.rpartition("-")[0]
        own = self._own_ports[replica] = free_port()
        environment = {
            "PORT": str(self._ports[name]),
            "OWN_PORT": str(own),
            "DATABASE_URL": self._databases[name],
            "TRACES_URL": f"http://127.0.0.1:{self._ports['sink']}",
            "PAYMENT_URL": f"http://127.0.0.1:{self._ports['payment']}",
            "INVENTORY_URL": f"http://127.0.0.1:{self._ports['inventory']}",
        }
        self._start(replica, "tests.bench.peers.tutorial", [name], environment)
        self._wait(replica, f"http://127.0.0.1:{own}/health")

    def stop(self, replica: str) -> None:
        """Kill a replica, as the machine beneath it would."""
        process = self._running.pop(replica)
        process.kill()
        process.wait(_STOP_SECONDS)

    def fault(self, replica: str, *, latency_ms: float = 0.0, error_rate: float = 0.0) -> None:
        """Put a fault in force; without arguments, end it."""
        body = json.dumps({"latency_ms": latency_ms, "error_rate": error_rate}).encode()
        headers = {"content-type": "application/json"}
        url = f"http://127.0.0.1:{self._own_ports[replica]}/faults"
        urlopen(Request(url, body, headers, method="PUT"), timeout=5).close()

    def calls(self, replica: str) -> int:
        """How many calls have come in at a replica, those that a fault struck too."""
        with urlopen(f"http://127.0.0.1:{self._own_ports[replica]}/faults", timeout=5) as answer:
            return int(json.load(answer)["calls"])

    def pids(self) -> dict[str, int]:
        """The process of each replica, and of the sink."""
        return {name: process.pid for name, process in self._running.items()}

    def down(self) -> None:
        """End everything."""
        owner.forget(StateDirectory(self._directory))
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(_STOP_SECONDS)
        self._running.clear()

    def _start(self, name: str, module: str, words: list[str], environment: Mapping[str, str]) -> None:
        with (self._directory / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [PYTHON, "-m", module, *words],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", MARKER: str(self._directory), **environment},
                stdout=log,
                stderr=log,
            )

    def _wait(self, name: str, url: str) -> None:
        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                urlopen(url, timeout=1).close()
            except (URLError, OSError):
                if self._running[name].poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{name} did not start:\n{self._log(name)}") from None
                time.sleep(0.1)
            else:
                return

    def _log(self, name: str) -> str:
        return (self._directory / f"{name}.log").read_text()[-2_000:]


@contextmanager
def running_tutorial(directory: Path, databases: Mapping[str, str] | None = None) -> Iterator[TutorialStack]:
    """The tutorial's stack, up inside the block."""
    stack = TutorialStack(directory, databases)
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


def postgres_databases(port: int, password: str) -> dict[str, str]:
    """Make a database a service on a running server, and return their URLs."""

    async def make() -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=port, user="postgres", password=password, database="postgres"
        )
        try:
            for name in SERVICES:
                await connection.execute(f'CREATE DATABASE "tutorial_{name}"')
        finally:
            await connection.close(timeout=5)

    asyncio.run(make())
    return {name: f"postgresql+asyncpg://postgres:{password}@127.0.0.1:{port}/tutorial_{name}" for name in SERVICES}


def free_port() -> int:
    """A port of the loopback address that nobody has now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
