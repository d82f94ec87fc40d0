"""The clients of payment and inventory, under the policies that the service really runs with."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from services.order.call_metrics import CallMetrics
from services.order.downstream import ServiceClient, UpstreamUnavailable
from services.order.inventory_client import BasketRefused, HoldGone, HoldRefused, InventoryServiceClient
from services.order.orders import Order
from services.order.payment_client import PaymentServiceClient, PaymentStatus
from services.order.states import State
from shared.chassis.auth import TokenSigner, TokenVerifier
from shared.resilience import Registry
from shared.resilience.testing import FakeClock, seeded_random

KEY = SecretStr("k" * 43)
ORDER = Order(
    id="ord_1",
    idempotency_key="key",
    fingerprint="",
    state=State.CHARGING,
    ending=None,
    customer="ada",
    currency="EUR",
    total_amount=250,
    items=[{"sku": "mug", "quantity": 1, "unit_price": 250}],
    card_last4="4242",
    sealed_card="sealed",
    charge_begun=True,
    transaction_id=None,
    answer=None,
    tries=0,
    version=2,
    due_at=None,
    created_at=0,
    updated_at=0,
)

Server = Callable[[httpx.Request], httpx.Response]


class Bench:
    """Both clients against one scripted server; `seen` holds the requests that reached it."""

    def __init__(self, server: Server) -> None:
        self.seen: list[httpx.Request] = []
        self.clock = FakeClock()
        self.metrics = CollectorRegistry()

        def answer(request: httpx.Request) -> httpx.Response:
            self.seen.append(request)
            return server(request)

        transport = httpx.MockTransport(answer)
        path = Path("services/order/resilience.yaml")
        self.registry = Registry.from_file(path, clock=self.clock, random=seeded_random())

        calls = CallMetrics(self.metrics)

        def service(name: str) -> ServiceClient:
            return ServiceClient(name, f"http://{name}", TokenSigner("order", name, KEY), transport, calls.edge(name))

        self.payment = PaymentServiceClient(service("payment"), self.registry, self.metrics)
        self.inventory = InventoryServiceClient(service("inventory"), self.registry)

    async def run(self, call: Any) -> Any:
        return await self.clock.run(call)

    def count(self, outcome: str) -> float | None:
        return self.metrics.get_sample_value(f"payment_service_calls_{outcome}_total")

    def attempts(self, to: str, outcome: str) -> float | None:
        labels = {"to": to, "outcome": outcome}
        return self.metrics.get_sample_value("http_client_request_duration_seconds_count", labels)


def always(status: int, body: Any = None, **headers: str) -> Server:
    return lambda _: httpx.Response(status, json=body if body is not None else {}, headers=headers)


def problem(status: int, slug: str, **members: Any) -> Server:
    return always(status, {"type": f"/problems/{slug}", **members})


async def test_a_captured_payment_is_counted_as_a_success_and_carries_its_token() -> None:
    bench = Bench(always(200, {"transaction_id": "pay_1", "status": "CAPTURED"}))
    outcome = await bench.run(bench.payment.process_payment(ORDER))
    assert (outcome.status, outcome.transaction_id, bench.count("success")) == (PaymentStatus.CAPTURED, "pay_1", 1)
    token = bench.seen[0].headers["authorization"].removeprefix("Bearer ")
    TokenVerifier("order", "payment", KEY).verify(token)
    assert int(bench.seen[0].headers["x-deadline-ms"]) <= 800


async def test_a_decline_is_an_answer_that_is_neither_retried_nor_held_against_the_breaker() -> None:
    bench = Bench(problem(402, "card-declined", transaction_id="pay_1", decline_code="lost_card"))
    for _ in range(50):
        outcome = await bench.run(bench.payment.process_payment(ORDER))
    assert (outcome.status, outcome.reason, len(bench.seen)) == (PaymentStatus.DECLINED, "lost_card", 50)
    assert bench.registry.breakers["payment"].state == "closed"


async def test_each_attempt_on_an_edge_is_timed_by_how_it_ended() -> None:
    bench = Bench(always(503))
    await bench.run(bench.payment.process_payment(ORDER))
    counted = {outcome: bench.attempts("payment", outcome) for outcome in ("answered", "failed", "cut")}
    assert counted == {"answered": 0, "failed": 3, "cut": 0}
    assert bench.attempts("inventory", "failed") == 0
    bench = Bench(problem(402, "card-declined", transaction_id="pay_1", decline_code="lost_card"))
    await bench.run(bench.payment.process_payment(ORDER))
    assert (bench.attempts("payment", "answered"), bench.attempts("payment", "failed")) == (1, 0)


async def test_an_attempt_that_the_caller_gives_up_is_counted_as_cut() -> None:
    registry = CollectorRegistry()
    edge, never = CallMetrics(registry).edge("payment"), asyncio.Event()

    async def attempt() -> None:
        with edge.timed():
            await never.wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await attempt()
    labels = {"to": "payment", "outcome": "cut"}
    assert registry.get_sample_value("http_client_request_duration_seconds_count", labels) == 1


async def test_a_failing_payment_service_is_retried_and_then_answered_by_the_fallback() -> None:
    bench = Bench(always(503))
    outcome = await bench.run(bench.payment.process_payment(ORDER))
    assert (outcome.status, len(bench.seen)) == (PaymentStatus.PENDING, 3)
    assert (bench.count("failure"), bench.count("fallback"), bench.count("success")) == (1, 1, 0)
    assert [r.headers.get("x-retry-attempt") for r in bench.seen] == [None, "1", "2"]


async def test_a_payment_service_that_stays_down_is_soon_not_asked_at_all() -> None:
    bench = Bench(always(503))
    for _ in range(40):
        await bench.run(bench.payment.process_payment(ORDER))
    assert bench.registry.breakers["payment"].state == "open"
    before = len(bench.seen)
    outcome = await bench.run(bench.payment.process_payment(ORDER))
    assert (outcome.status, outcome.reason, len(bench.seen)) == (PaymentStatus.PENDING, "CallNotPermitted", before)


async def test_a_refusal_that_nobody_expects_is_queued_and_not_lost() -> None:
    bench = Bench(problem(422, "invalid-input"))
    assert (await bench.run(bench.payment.process_payment(ORDER))).status is PaymentStatus.PENDING


async def test_the_status_call_has_a_breaker_of_its_own_and_falls_back_to_unknown() -> None:
    bench = Bench(always(500))
    for _ in range(40):
        assert (await bench.run(bench.payment.payment_status("ord_1"))).status is PaymentStatus.UNKNOWN
    states = {name: breaker.state for name, breaker in bench.registry.breakers.items()}
    assert (states["payment.status"], states["payment"]) == ("open", "closed")


async def test_a_payment_that_was_never_asked_for_is_absent() -> None:
    bench = Bench(problem(404, "no-such-payment"))
    assert (await bench.run(bench.payment.payment_status("ord_1"))).status is PaymentStatus.ABSENT


async def test_a_refund_that_fails_is_raised_so_that_it_is_tried_again() -> None:
    bench = Bench(always(503))
    with pytest.raises(UpstreamUnavailable):
        await bench.run(bench.payment.refund("ord_1", "cancelled"))


@pytest.mark.parametrize(("value", "attempts"), [("0", 3), ("-1", 1), ("soon", 1), ("30", 1)])
async def test_a_push_back_that_is_negative_unreadable_or_too_long_means_no_retry(value: str, attempts: int) -> None:
    bench = Bench(always(503, **{"Retry-After": value}))
    await bench.run(bench.payment.process_payment(ORDER))
    assert len(bench.seen) == attempts


async def test_prices_are_remembered_for_a_moment_where_there_was_enough() -> None:
    line = {"sku": "mug", "quantity": 1, "available": 2, "unit_price": 250, "sufficient": True}
    bench = Bench(always(200, {"available": True, "items": [line]}))
    basket = [{"sku": "mug", "quantity": 2}]
    assert bench.inventory.remembered(basket, "EUR") is None
    asked = await bench.run(bench.inventory.quote(basket, "EUR"))
    assert bench.inventory.remembered(basket, "EUR") == asked
    assert (asked.unit_prices, asked.shortages, len(bench.seen)) == ({"mug": 250}, [], 1)
    assert bench.inventory.remembered([{"sku": "mug", "quantity": 3}], "EUR") is None
    assert bench.inventory.remembered(basket, "USD") is None


async def test_an_unknown_sku_is_told_by_field() -> None:
    errors = [{"field": "items[0].sku", "detail": "unknown"}]
    bench = Bench(problem(422, "unknown-sku", errors=errors))
    with pytest.raises(BasketRefused) as refused:
        await bench.run(bench.inventory.quote([{"sku": "nothing", "quantity": 1}], "EUR"))
    assert refused.value.errors[0].field == "items[0].sku"


async def test_a_shortage_and_a_lost_hold_are_answers_and_not_failures() -> None:
    short = {"sku": "mug", "quantity": 2, "available": 1, "sufficient": False}
    bench = Bench(problem(409, "insufficient-stock", items=[short]))
    with pytest.raises(HoldRefused) as refused:
        await bench.run(bench.inventory.reserve("ord_1", [{"sku": "mug", "quantity": 2}], 60))
    assert (refused.value.shortages, refused.value.attempt, len(bench.seen)) == ([short], 1, 1)
    gone = Bench(problem(409, "hold-expired"))
    with pytest.raises(HoldGone):
        await gone.run(gone.inventory.commit("ord_1"))
    assert len(gone.seen) == 1


async def test_an_answer_that_cannot_be_read_is_a_failure_and_retried() -> None:
    bench = Bench(lambda _: httpx.Response(200, content=b"<html>"))
    with pytest.raises(UpstreamUnavailable):
        await bench.run(bench.inventory.release("ord_1"))
    assert len(bench.seen) == 3


async def test_without_its_fallback_a_charge_that_fails_is_raised() -> None:
    bench = Bench(always(503))
    bench.registry.pipeline("payment.process").switch("fallback", enabled=False)
    with pytest.raises(UpstreamUnavailable):
        await bench.run(bench.payment.process_payment(ORDER))
    assert bench.count("fallback") == 0


async def test_half_of_three_charges_a_second_failing_gets_at_most_a_fifth_more_attempts() -> None:
    answers = iter([503, 200] * 500)

    def every_second_fails(_: httpx.Request) -> httpx.Response:
        return httpx.Response(next(answers), json={"transaction_id": "pay_1", "status": "CAPTURED"})

    bench = Bench(every_second_fails)
    bench.registry.breakers["payment"].transition_to_disabled()
    for _ in range(60):
        await bench.run(bench.payment.process_payment(ORDER))
        await bench.clock.advance(1 / 3)
    assert 60 < len(bench.seen) <= 60 * 1.2
