"""What the platform promises holds with Envoy between the services, and without."""

import asyncio
from collections.abc import Iterator

import pytest

from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from tests.e2e.conftest import audit
from tests.e2e.customers import DECLINED_CARD, customers, order_body, statuses
from tests.e2e.settling import until_settled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module", params=["envoy", "off"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with running_stack(tmp_path_factory.mktemp(request.param) / ".local", mesh=request.param) as stack:
        yield stack
        audit(stack)


async def test_an_order_a_declined_card_and_a_repeated_key_are_answered_the_same(stack: LocalStack) -> None:
    async with customers(stack.url("order")) as ada:
        first = await ada.once("first", order_body())
        again = await ada.once("first", order_body())
        declined = await ada.once("declined", order_body(card=DECLINED_CARD))
        reused = await ada.once("first", order_body(quantity=2))
    assert (first.status, first.body["state"], declined.status) == (201, "CONFIRMED", 402)
    assert (again.body["id"], reused.status) == (first.body["id"], 422)


async def test_wrong_input_is_refused_by_the_service_in_its_own_words(stack: LocalStack) -> None:
    async with customers(stack.url("order")) as ada:
        refused = await ada.once("wrong", order_body(quantity=0))
        large = await ada.once("large", order_body() | {"customer": "a" * 100_000})
    assert (refused.status, refused.body["errors"][0]["field"]) == (422, "items[0].quantity")
    assert (large.status, large.body["type"]) == (413, "/problems/body-too-large")


async def test_without_payment_orders_are_taken_and_settle_when_it_is_back(stack: LocalStack) -> None:
    async with customers(stack.url("order")) as ada:
        for version in ("payment", "payment-v2"):
            await asyncio.to_thread(stack.scale, version, 0)
        away = [await ada.once(f"away-{n}", order_body()) for n in range(8)]
        for version in ("payment", "payment-v2"):
            await asyncio.to_thread(stack.scale, version, 1)
        assert statuses(away) == {202: 8}
        await until_settled(ada, seconds=40)
        assert (await ada.place("back", order_body(), patience=30)).status in (201, 202)
        await until_settled(ada, seconds=40)


async def test_without_inventory_an_order_is_refused_with_a_time_to_try_again(stack: LocalStack) -> None:
    await asyncio.to_thread(stack.scale, "inventory", 0)
    try:
        async with customers(stack.url("order")) as ada:
            refused = await ada.once("nothing-there", order_body())
    finally:
        await asyncio.to_thread(stack.scale, "inventory", 1)
    assert refused.status == 503
    assert refused.body["trace_id"]
