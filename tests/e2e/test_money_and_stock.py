"""What must never happen, tried with many customers at once on a running platform."""

import asyncio
from pathlib import Path

import pytest

from infra.local.stack import LocalStack
from tests.e2e.conftest import audit
from tests.e2e.customers import DECLINED_CARD, customers, order_body, statuses, write_answers

pytestmark = pytest.mark.slow


async def test_one_curl_places_a_real_order_and_its_history_can_be_read(platform: LocalStack) -> None:
    async with customers(platform.url("order")) as ada:
        answer = await ada.once("first", order_body(quantity=2))
        assert (answer.status, answer.body["state"]) == (201, "CONFIRMED")
        assert answer.body["total_amount"] == 2 * answer.body["items"][0]["unit_price"]
        order = await ada.get(f"/orders/{answer.body['id']}")
    states = [step["state"] for step in order["history"]]
    assert states == ["RESERVING", "CHARGING", "CONFIRMING", "CONFIRMED"]


async def test_five_hundred_customers_for_a_hundred_units_buy_exactly_a_hundred(
    platform: LocalStack, tmp_path: Path
) -> None:
    async with customers(platform.url("order"), seconds=30) as crowd:
        keys = [f"limited-{n}" for n in range(500)]
        answers = await asyncio.gather(*(crowd.place(key, order_body("print-limited"), patience=120) for key in keys))
    assert statuses(answers) == {201: 100, 409: 400}
    assert {answer.body["type"] for answer in answers if answer.status == 409} == {"/problems/insufficient-stock"}
    audit(platform, answers=write_answers(tmp_path / "answers.jsonl", answers))


async def test_two_hundred_copies_of_one_request_are_one_order_one_charge_and_equal_answers(
    platform: LocalStack,
) -> None:
    async with customers(platform.url("order")) as ada:
        answers = await asyncio.gather(*(ada.place("copied", order_body()) for _ in range(200)))
    assert statuses(answers) == {201: 200}
    assert len({str(sorted(answer.body.items())) for answer in answers}) == 1
    audit(platform)


async def test_a_declined_card_is_told_402_every_time_and_costs_nothing(platform: LocalStack) -> None:
    async with customers(platform.url("order")) as ada:
        answers = [await ada.once("declined", order_body(card=DECLINED_CARD)) for _ in range(2)]
    assert [(a.status, a.body["type"]) for a in answers] == [(402, "/problems/card-declined")] * 2
    audit(platform)


async def test_a_cancelled_order_is_refunded_and_its_stock_is_back(platform: LocalStack) -> None:
    async with customers(platform.url("order")) as ada, customers(platform.url("inventory")) as shop:
        before = (await shop.get("/products/mug-enamel"))["available"]
        answer = await ada.once("regretted", order_body(quantity=3))
        cancel = f"{ada.url}/orders/{answer.body['id']}/cancel"
        async with ada._session.post(cancel) as first, ada._session.post(cancel) as second:
            assert (first.status, second.status) == (200, 200)
            assert (await first.json())["state"] == "CANCELLED"
        assert (await shop.get("/products/mug-enamel"))["available"] == before
    audit(platform)
