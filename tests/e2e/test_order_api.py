"""The order API as its users see it, beyond placing an order."""

import aiohttp
import pytest

from infra.local.stack import LocalStack
from tests.e2e.customers import DECLINED_CARD, customers, order_body

pytestmark = pytest.mark.slow


async def test_orders_are_listed_in_pages_newest_first_and_by_state(platform: LocalStack) -> None:
    async with customers(platform.url("order")) as ada:
        placed = [(await ada.once(f"page-{n}", order_body())).body["id"] for n in range(5)]
        seen, before = [], ""
        while len(seen) < len(placed):
            page = await ada.get(f"/orders?state=CONFIRMED&limit=2{before}")
            assert 1 <= len(page["items"]) <= 2
            seen += [order["id"] for order in page["items"]]
            before = f"&before={page['next']}"
        assert seen[: len(placed)] == placed[::-1]
        assert (await ada.get("/orders?state=RESERVING"))["items"] == []


async def test_an_order_that_ended_otherwise_cannot_be_cancelled(platform: LocalStack) -> None:
    async with customers(platform.url("order")) as ada, aiohttp.ClientSession() as session:
        declined = await ada.once("not-cancellable", order_body(card=DECLINED_CARD))
        assert declined.status == 402
        page = await ada.get("/orders?state=DECLINED&limit=1")
        async with session.post(f"{ada.url}/orders/{page['items'][0]['id']}/cancel") as response:
            assert (response.status, (await response.json(content_type=None))["type"]) == (
                409,
                "/problems/not-cancellable",
            )
        async with session.post(f"{ada.url}/orders/ord_{'0' * 26}/cancel") as response:
            assert response.status == 404


async def test_the_error_budget_says_that_there_is_no_prometheus_and_answers_all_the_same(platform: LocalStack) -> None:
    async with customers(platform.url("order")) as ada:
        await ada.once("for-the-budget", order_body())
        budget = await ada.get("/error-budget")
    assert budget["source"] == "no Prometheus is configured"
    # other tests may have had orders refused by this platform
    left = 100 * (1 - budget["failed"] / (budget["requests"] * 0.001))
    assert budget["budget_left_percent"] == pytest.approx(left)
    assert budget["status"] == ("HEALTHY" if left >= 25 else "WARNING" if left >= 10 else "CRITICAL")
    assert budget["requests"] >= 1
    assert budget["objectives"] == {"availability": 0.999, "latency_p99_seconds": 1.0, "error_rate": 0.001}


async def test_both_versions_of_payment_run_and_say_which_they_are(platform: LocalStack) -> None:
    async with aiohttp.ClientSession() as session:
        for name, version in (("payment-1", "v1"), ("payment-v2-1", "v2")):
            async with session.get(f"{platform.url(name)}/info") as response:
                assert (response.headers["x-api-version"], (await response.json())["api_version"]) == (version, version)


async def test_readiness_shows_dependencies_and_breakers(platform: LocalStack) -> None:
    async with customers(platform.url("order")) as ada:
        ready = await ada.get("/health/ready")
    assert ready["dependencies"]["database"] == {"status": "up", "required": True}
    assert ready["dependencies"]["broker"]["required"] is False
    assert set(ready["breakers"]) >= {"payment", "inventory.reservations"}
