"""The load: a repeatable stream of orders, sent at their own pace by clients that behave well."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from io import StringIO
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.load import __main__ as command
from infra.load import arrivals
from infra.load.customer import Answer, Customer
from infra.load.orders import DECLINING_CARD, KNOWN_PRODUCTS, OrderMaker, Product, live_catalogue
from infra.load.tally import Latencies, Tally

Handler = Callable[[httpx.Request], httpx.Response]


class Server:
    """Answers from a list, the last one again and again, and keeps what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def problem(status: int, slug: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, json={"type": f"/problems/{slug}", "status": status})


CONFIRMED = httpx.Response(201, json={"id": "ord_1", "state": "CONFIRMED"})
OVERLOADED = problem(503, "overloaded", **{"Retry-After": "2"})


async def place(server: Handler, waits: list[float] | None = None) -> Answer:
    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as client:
        return await Customer(client, "http://shop", Random(1), sleep=sleep).place("key-1", {"customer": "ada"})


async def test_a_confirmed_order_takes_one_attempt() -> None:
    server = Server(CONFIRMED)
    assert await place(server) == Answer(201, "confirmed", 1, "ord_1", "CONFIRMED")
    assert "x-retry-attempt" not in server.requests[0].headers


async def test_a_refusal_is_repeated_with_the_same_key_after_the_time_that_it_asks_for() -> None:
    server, waits = Server(OVERLOADED, OVERLOADED, CONFIRMED), list[float]()
    assert (await place(server, waits)).attempts == 3
    assert {request.headers["idempotency-key"] for request in server.requests} == {"key-1"}
    assert [request.headers.get("x-retry-attempt") for request in server.requests] == [None, "1", "2"]
    assert all(2 <= wait <= 2.25 for wait in waits)


async def test_attempts_are_bounded_and_the_last_refusal_is_the_answer() -> None:
    server = Server(OVERLOADED)
    assert await place(server) == Answer(503, "overloaded", 4)
    assert len(server.requests) == 4


@pytest.mark.parametrize("asked", ["soon", "-1", "nan", "3600"])
async def test_a_push_back_that_cannot_be_followed_ends_the_attempts(asked: str) -> None:
    assert (await place(Server(problem(503, "overloaded", **{"Retry-After": asked})))).attempts == 1


@pytest.mark.parametrize(
    "final", [problem(402, "card-declined"), problem(409, "insufficient-stock"), problem(422, "x")]
)
async def test_an_answer_that_will_not_change_is_not_asked_for_again(final: httpx.Response) -> None:
    server = Server(final)
    await place(server)
    assert len(server.requests) == 1


async def test_an_order_still_under_way_is_asked_for_again_when_the_service_says_when() -> None:
    server = Server(problem(409, "order-in-progress", **{"Retry-After": "1"}), CONFIRMED)
    assert (await place(server)).status == 201


async def test_a_lost_connection_is_tried_again_under_the_same_key() -> None:
    server = Server(httpx.ReadError("reset"), httpx.ConnectError("refused"), CONFIRMED)
    assert (await place(server)).status == 201
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1


async def test_nobody_there_is_told_apart_from_an_error() -> None:
    assert await place(Server(httpx.ConnectError("refused"))) == Answer(0, "not-reachable", 4)
    assert (await place(Server(httpx.ReadTimeout("slow")))).meaning == "no-answer-in-time"


def made(seed: int, count: int, declining: float = 0.03) -> list[dict[str, Any]]:
    maker = OrderMaker(KNOWN_PRODUCTS, Random(seed), declining)
    return [maker.make() for _ in range(count)]


def test_the_same_seed_makes_the_same_orders_and_another_others() -> None:
    assert made(1, 50) == made(1, 50)
    assert made(1, 50) != made(2, 50)


def test_about_the_chosen_share_of_cards_declines() -> None:
    declining = sum(order["payment_method"]["number"] == DECLINING_CARD for order in made(1, 4000, 0.1))
    assert 300 < declining < 500


def test_a_basket_names_each_product_once_and_only_in_a_currency_that_it_has() -> None:
    products = (Product("a", frozenset({"EUR"}), 1), Product("b", frozenset({"USD", "EUR"}), 1))
    maker = OrderMaker(products, Random(3), 0.0)
    for _ in range(300):
        order = maker.make()
        skus = [item["sku"] for item in order["items"]]
        assert len(set(skus)) == len(skus)
        assert order["currency"] == "EUR" or skus == ["b"]


async def test_the_catalogue_is_read_page_by_page_without_what_is_sold_out() -> None:
    def page(sku: str, available: int, following: str | None) -> httpx.Response:
        item = {"sku": sku, "name": sku, "prices": {"EUR": 100}, "available": available}
        return httpx.Response(200, json={"items": [item], "next": following})

    server = Server(page("a", 4, "a"), page("b", 0, "b"), page("c", 9, None))
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as client:
        found = await live_catalogue(client, "http://stock")
    assert [(product.sku, product.weight) for product in found] == [("a", 2.0), ("c", 3.0)]
    assert [request.url.params.get("after") for request in server.requests] == [None, "a", "b"]


@pytest.mark.parametrize(
    "answer", [httpx.ConnectError("down"), httpx.Response(503), httpx.Response(200, text="<html>")]
)
async def test_a_catalogue_that_cannot_be_read_is_empty(answer: httpx.Response | Exception) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(Server(answer))) as client:
        assert await live_catalogue(client, "http://stock") == ()


@given(rate=st.floats(1, 100), seconds=st.floats(0.1, 50), seed=st.integers(0, 1000))
def test_arrivals_are_in_order_within_the_time_and_repeatable(rate: float, seconds: float, seed: int) -> None:
    moments = arrivals.times(rate, seconds, Random(seed))
    assert moments == sorted(moments) == arrivals.times(rate, seconds, Random(seed))
    assert all(0 <= moment < seconds for moment in moments)
    assert abs(len(moments) - rate * seconds) <= 6 * (rate * seconds) ** 0.5 + 6


class SlowCustomer(Customer):
    """Answers when told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.placed: list[str] = []
        self.full = asyncio.Event()
        self.expected = 0

    async def place(self, key: str, order: dict[str, Any]) -> Answer:
        self.placed.append(key)
        if len(self.placed) == self.expected:
            self.full.set()
        await self.go.wait()
        return Answer(201, "confirmed", 1)


async def test_orders_keep_arriving_while_earlier_ones_wait_up_to_the_bound() -> None:
    held_back = asyncio.Event()

    class Watched(Tally):
        def not_sent(self) -> None:
            super().not_sent()
            if self.held_back == 3:
                held_back.set()

    customer, tally, stop = SlowCustomer(), Watched(), asyncio.Event()
    maker = OrderMaker(KNOWN_PRODUCTS, Random(1), 0.0)
    sending = asyncio.create_task(
        arrivals.send([0.0] * 8, customer, maker, tally, run="r", in_flight=5, stop=stop, clock=lambda: 0.0)
    )
    await held_back.wait()
    customer.go.set()
    await sending
    assert customer.placed == [f"r-{number}" for number in range(5)]
    assert (tally.started, tally.held_back, tally.done) == (5, 3, 5)


async def test_a_stop_ends_the_arrivals_and_keeps_what_was_answered() -> None:
    customer, tally, stop = SlowCustomer(), Tally(), asyncio.Event()
    customer.expected = 1
    customer.go.set()
    maker = OrderMaker(KNOWN_PRODUCTS, Random(1), 0.0)
    sending = asyncio.create_task(
        arrivals.send([0.0, 3600.0], customer, maker, tally, run="r", in_flight=5, stop=stop, clock=lambda: 0.0)
    )
    await customer.full.wait()
    stop.set()
    await sending
    assert (tally.started, tally.outcomes) == (1, Counter({(201, "confirmed"): 1}))


@given(st.lists(st.floats(0.0001, 100), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_is_right_to_about_two_percent(values: list[float], share: float) -> None:
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    exact = sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
    assert exact * 0.98 <= latencies.percentile(share) <= exact * 1.021


def test_each_answer_is_a_line_for_the_auditor_and_no_answer_is_none() -> None:
    lines = StringIO()
    tally = Tally(lines)
    tally.answered("k1", Answer(202, "pending-payment", 1, "ord_1", "PENDING_PAYMENT"), 0.1)
    tally.answered("k2", Answer(402, "card-declined", 1), 0.1)
    tally.answered("k3", Answer(0, "not-reachable", 4), 0.1)
    written = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [(line["id"], line["status"], line["state"], line["idempotency_key"]) for line in written] == [
        ("ord_1", 202, "PENDING_PAYMENT", "k1"),
        (None, 402, "card-declined", "k2"),
    ]
    assert all(line["time"].endswith("+00:00") for line in written)


@pytest.mark.parametrize("url", ["http://shop.example", "http://10.0.0.1:8080", "http://localhost.example:80"])
def test_a_target_elsewhere_is_refused_unless_it_is_allowed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--url", url, "--seconds", "1"]) == 64
    assert "--allow-remote" in capsys.readouterr().err


def test_an_order_is_told_of_when_it_is_sent_and_when_it_has_ended_answered_or_not() -> None:
    lines = StringIO()
    tally = Tally(events=lines)
    tally.sent("k1")
    tally.answered("k1", Answer(0, "no-answer-in-time", 4), 15.0)
    tally.not_sent()
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["sent", "ended", "not_sent"]
    assert {key: events[1][key] for key in ("key", "status", "attempts", "seconds")} == {
        "key": "k1", "status": 0, "attempts": 4, "seconds": 15.0,
    }  # fmt: skip
    assert all(event["at"] > 0 for event in events)


async def test_headers_of_the_customer_go_with_every_attempt() -> None:
    server = Server(OVERLOADED, CONFIRMED)

    async def at_once(_seconds: float) -> None:
        pass

    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as client:
        customer = Customer(client, "http://shop", Random(1), headers={"x-experiment-id": "e-1"}, sleep=at_once)
        await customer.place("key-1", {"customer": "ada"})
    assert [request.headers["x-experiment-id"] for request in server.requests] == ["e-1", "e-1"]
