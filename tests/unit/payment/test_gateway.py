"""Our side of the wire: a time limit on every call, and a count of what came of it."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from services.payment.card_network import NetworkRecord, NetworkState, NetworkUnavailable
from services.payment.cards import Card
from services.payment.gateway import Gateway

CARD = Card("4242424242424242")
CAPTURED = NetworkRecord("net_1", NetworkState.CAPTURED, "EUR", 5, 0, "4242", None)


class AnsweringNetwork:
    def __init__(self, answer: NetworkRecord | Exception) -> None:
        self._answer = answer

    async def charge(self, payment_key: str, amount: int, currency: str, card: Card) -> NetworkRecord:
        return await self.refund(payment_key)

    async def refund(self, payment_key: str) -> NetworkRecord:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


class SilentNetwork:
    def __init__(self) -> None:
        self.called, self.given_up = asyncio.Event(), asyncio.Event()

    async def charge(self, payment_key: str, amount: int, currency: str, card: Card) -> NetworkRecord:
        return await self.refund(payment_key)

    async def refund(self, payment_key: str) -> NetworkRecord:
        self.called.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.given_up.set()
        raise AssertionError


def count(metrics: CollectorRegistry, outcome: str) -> float | None:
    return metrics.get_sample_value("card_network_calls_total", {"outcome": outcome})


async def test_an_answer_is_handed_on_and_counted() -> None:
    metrics = CollectorRegistry()
    gateway = Gateway(AnsweringNetwork(CAPTURED), limit_seconds=5, metrics=metrics)

    assert await gateway.charge("order-1", 5, "EUR", CARD) is CAPTURED
    assert await gateway.refund("order-1") is CAPTURED
    assert count(metrics, "captured") == 2


async def test_a_network_that_stays_silent_is_given_up_at_the_time_limit() -> None:
    metrics, network = CollectorRegistry(), SilentNetwork()
    gateway = Gateway(network, limit_seconds=0.01, metrics=metrics)

    with pytest.raises(NetworkUnavailable, match=r"no answer within 0\.01 s"):
        async with asyncio.timeout(30):
            await gateway.charge("order-1", 5, "EUR", CARD)
    assert network.given_up.is_set()
    assert count(metrics, "timeout") == 1


async def test_an_unavailable_network_is_told_on_and_counted() -> None:
    metrics = CollectorRegistry()
    gateway = Gateway(AnsweringNetwork(NetworkUnavailable("lost")), limit_seconds=5, metrics=metrics)

    with pytest.raises(NetworkUnavailable, match="lost"):
        await gateway.refund("order-1")
    assert count(metrics, "unavailable") == 1


async def test_a_defect_in_the_network_is_not_taken_for_an_outage() -> None:
    gateway = Gateway(AnsweringNetwork(ZeroDivisionError()), limit_seconds=5, metrics=CollectorRegistry())

    with pytest.raises(ZeroDivisionError):
        await gateway.refund("order-1")


async def test_a_caller_that_goes_away_ends_the_call() -> None:
    network = SilentNetwork()
    gateway = Gateway(network, limit_seconds=60, metrics=CollectorRegistry())
    task = asyncio.create_task(gateway.refund("order-1"))
    await network.called.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert network.given_up.is_set()
