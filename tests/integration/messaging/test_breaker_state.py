"""Breakers shared over a real NATS server that comes, goes and hangs."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import nats
import pytest

from infra.local import nats as local_nats
from infra.local import secrets
from infra.local.settings import MODULES, LocalSettings
from infra.local.state import StateDirectory
from shared.messaging import Broker, BrokerUnavailable, NatsTransitionStore
from shared.resilience import CircuitBreaker, Registry, State
from shared.resilience.config import parse
from shared.resilience.sharing import SharedBreakers, SharedState
from tests.fixtures.nats import NatsServer
from tests.integration.messaging.conftest import Connect, eventually

CONFIG = """
instances:
  payment: {circuit_breaker: {wait_duration_in_open_state: 30s}}
  stock.read: {circuit_breaker: {wait_duration_in_open_state: 30s}}
"""
SERVICE = "order"


class Replica:
    """A registry that shares over its own connection."""

    def __init__(self, name: str, broker: Broker) -> None:
        self.broker = broker
        self.registry = Registry(parse(CONFIG, Path("resilience.yaml")))
        self.store = NatsTransitionStore(broker, service=SERVICE)
        self.shared = SharedBreakers(self.registry, self.store, origin=name)
        self.task = asyncio.create_task(self.shared.run())

    @property
    def payment(self) -> CircuitBreaker:
        return self.registry.breakers["payment"]

    def is_open(self) -> bool:
        return self.payment.state is State.OPEN

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
async def join(connect: Connect) -> AsyncIterator[Callable[..., Any]]:
    """`await join("order-1", server)`: a replica; it has told the broker of its breakers unless `wait=False`."""
    replicas: list[Replica] = []

    async def make(name: str, server: NatsServer, *, wait: bool = True, **options: Any) -> Replica:
        replica = Replica(name, await connect(server.url, wait=wait, **options))
        replicas.append(replica)
        if wait:
            await eventually(lambda: _has_told(replica, name))
        return replica

    yield make
    for replica in replicas:
        await replica.stop()


async def _has_told(replica: Replica, name: str) -> bool:
    return any(subject.endswith(f".payment.{name}") for subject in await keys(replica.broker))


async def keys(broker: Broker) -> list[str]:
    link = await broker.link()
    try:
        answer = await link.request("$JS.API.STREAM.INFO.KV_breakers-order", b'{"subjects_filter": ">"}')
    except (nats.errors.Error, TimeoutError):
        return []
    return list((json.loads(answer.data).get("state") or {}).get("subjects") or {})


async def test_a_replica_opens_when_another_has_opened(nats_server: NatsServer, join: Any) -> None:
    one, two = await join("order-1", nats_server), await join("order-2", nats_server)
    one.payment.transition_to_open(20)
    await eventually(two.is_open)
    assert 15 < two.payment.snapshot().retry_after <= 20
    assert two.registry.breakers["stock.read"].state is State.CLOSED


async def test_a_closing_is_not_followed(nats_server: NatsServer, join: Any) -> None:
    one, two = await join("order-1", nats_server), await join("order-2", nats_server)
    one.payment.transition_to_open(20)
    await eventually(two.is_open)
    one.payment.transition_to_closed()
    # What comes after it has arrived, so it has too.
    one.registry.breakers["stock.read"].transition_to_open(20)
    await eventually(lambda: two.registry.breakers["stock.read"].state is State.OPEN)
    assert two.is_open()


async def test_a_late_replica_follows_for_what_remains_by_the_servers_clock(nats_server: NatsServer, join: Any) -> None:
    one = await join("order-1", nats_server)
    one.payment.transition_to_open(20)
    told = one.payment.snapshot().retry_after
    await eventually(lambda: one.payment.snapshot().retry_after < told - 0.5)
    two = await join("order-2", nats_server)
    await eventually(two.is_open)
    assert two.payment.snapshot().retry_after == pytest.approx(one.payment.snapshot().retry_after, abs=0.3)


async def test_replicas_agree_again_after_the_server_was_killed(nats_server: NatsServer, join: Any) -> None:
    one, two = await join("order-1", nats_server), await join("order-2", nats_server)
    nats_server.kill()
    await eventually(lambda: not one.broker.connected and not two.broker.connected)
    one.payment.transition_to_open(25)
    assert two.payment.state is State.CLOSED
    assert two.payment.try_acquire() is not None
    await nats_server.start_soon()
    await eventually(two.is_open)
    assert two.payment.snapshot().retry_after == pytest.approx(one.payment.snapshot().retry_after, abs=0.5)


async def test_a_bucket_that_was_lost_is_made_again(nats_server: NatsServer, join: Any) -> None:
    one, two = await join("order-1", nats_server), await join("order-2", nats_server)
    nats_server.kill()
    nats_server.wipe()
    await nats_server.start_soon()
    one.payment.transition_to_open(25)
    await eventually(two.is_open)


async def test_a_server_that_hangs_costs_a_call_nothing(nats_server: NatsServer, join: Any) -> None:
    one, two = await join("order-1", nats_server), await join("order-2", nats_server)
    nats_server.pause()
    try:
        loop = asyncio.get_running_loop()
        began = loop.time()
        one.payment.transition_to_open(25)
        assert one.payment.try_acquire() is None
        assert two.payment.try_acquire() is not None
        assert loop.time() - began < 0.1
    finally:
        nats_server.resume()
    await eventually(two.is_open)


async def test_it_waits_for_a_server_that_is_away_at_the_start(make_nats: Callable[..., NatsServer], join: Any) -> None:
    server = make_nats()
    one, two = await join("order-1", server, wait=False), await join("order-2", server, wait=False)
    one.payment.transition_to_open(25)
    await server.start_soon()
    await eventually(two.is_open)


async def test_without_a_connection_publishing_fails_at_once(connect: Connect) -> None:
    store = NatsTransitionStore(await connect("", wait=False), service=SERVICE)
    with pytest.raises(BrokerUnavailable, match="not connected"):
        await store.publish(SharedState("payment", "order-1", "open", 1))


async def test_what_is_not_ours_in_the_bucket_is_passed_over(nats_server: NatsServer, join: Any) -> None:
    one, two = await join("order-1", nats_server), await join("order-2", nats_server)
    link = await one.broker.link()
    subject = "$KV.breakers-order.payment.order-9"
    texts = {"breaker": "payment", "origin": "order-9", "state": "open", "number": "1"}
    for body in (b"", b"\xff", b"[]", b"7", b"{}", {**texts, "remaining_ms": "9"}, {**texts, "remaining_ms": True}):
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        await link.publish(subject, payload, {})
    one.registry.breakers["stock.read"].transition_to_open(20)
    await eventually(lambda: two.registry.breakers["stock.read"].state is State.OPEN)
    assert two.payment.state is State.CLOSED
    assert not two.task.done()


async def test_services_do_not_hear_each_other(nats_server: NatsServer, connect: Connect, join: Any) -> None:
    one, two = await join("order-1", nats_server), await join("order-2", nats_server)
    other = NatsTransitionStore(await connect(nats_server.url), service="payment")
    await other.publish(SharedState("payment", "payment-1", "open", 20))
    one.registry.breakers["stock.read"].transition_to_open(20)
    await eventually(lambda: two.registry.breakers["stock.read"].state is State.OPEN)
    assert two.payment.state is State.CLOSED


async def test_one_key_for_each_replica_and_breaker_however_often_it_moves(nats_server: NatsServer, join: Any) -> None:
    one, two = await join("order-1", nats_server), await join("order-2", nats_server)
    for _ in range(20):
        one.payment.transition_to_open(20)
        one.payment.transition_to_closed()
        await asyncio.sleep(0)
    one.payment.transition_to_open(20)
    await eventually(two.is_open)
    assert sorted(await keys(one.broker)) == [
        f"$KV.breakers-order.{breaker}.order-{replica}" for breaker in ("payment", "stock=2Eread") for replica in (1, 2)
    ]


async def test_the_local_stacks_permissions_suffice(
    tmp_path: Path, make_nats: Callable[..., NatsServer], join: Any
) -> None:
    state = StateDirectory(tmp_path)
    passwords = {user: f"{user}-password" for user in (*MODULES, secrets.OPERATOR)}
    rendered = json.loads(local_nats.render(LocalSettings(), state, passwords))
    server = make_nats(config=f"authorization {json.dumps(rendered['authorization'])}")
    await server.start_soon()
    one, two = [await join(f"order-{n}", server, user="order", password=passwords["order"]) for n in (1, 2)]
    one.payment.transition_to_open(20)
    await eventually(two.is_open)
