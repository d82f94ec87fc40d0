"""The tutorial's SLO check, on numbers from Prometheus or from the replica itself."""

import httpx
import pytest
from prometheus_client import CollectorRegistry

from services.order.error_budget import Traffic, check_error_budget, from_prometheus, from_registry
from shared.chassis.metrics import RequestMetrics


@pytest.mark.parametrize(
    ("failed", "status", "left"),
    [
        (0, "HEALTHY", 100.0),
        (74, "HEALTHY", 26.0),
        (76, "WARNING", 24.0),
        (91, "CRITICAL", 9.0),
        (150, "CRITICAL", -50.0),
    ],
)
def test_what_is_left_of_the_budget_decides_between_healthy_warning_and_critical(
    failed: int, status: str, left: float
) -> None:
    budget = check_error_budget(Traffic(100_000, failed, 0.2), "Prometheus", "30d")
    assert (budget.status, budget.budget) == (status, pytest.approx(100))
    assert budget.budget_left_percent == pytest.approx(left)


def test_no_traffic_is_unknown_and_not_healthy() -> None:
    assert check_error_budget(Traffic(0, 0, None), "Prometheus", "30d").status == "UNKNOWN"


def test_a_replica_counts_its_own_orders_and_leaves_other_paths_out() -> None:
    registry = CollectorRegistry()
    metrics = RequestMetrics("order", registry)
    for path, status, seconds in [("/orders", 201, 0.02), ("/orders", 503, 0.3), ("/other", 500, 9.0)]:
        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "route": _Route(path)}
        metrics.note(scope, status, seconds)
    traffic = from_registry(registry)
    assert (traffic.requests, traffic.failed, traffic.p99_seconds) == (2, 1, 0.5)


async def test_prometheus_is_asked_for_all_three_numbers() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["query"])
        value = "0.25" if "quantile" in asked[-1] else "7" if "5.." in asked[-1] else "1000"
        return httpx.Response(200, json={"data": {"result": [{"value": [0, value]}]}})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        assert await from_prometheus(http, "http://prometheus:9090/") == Traffic(1000, 7, 0.25)
    assert len(asked) == 3


@pytest.mark.parametrize(
    "body", [{}, {"data": {"result": [{}]}}, {"data": {"result": [{"value": [0, "x"]}]}}, {"data": 1}]
)
async def test_an_answer_that_is_not_prometheus_is_refused(body: object) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    async with httpx.AsyncClient(transport=transport) as http:
        with pytest.raises(ValueError):  # noqa: PT011 - any: what was wrong does not matter to the caller
            await from_prometheus(http, "http://prometheus:9090")


async def test_a_ratio_of_nothing_is_no_number() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"data": {"result": [{"value": [0, "NaN"]}]}}))
    async with httpx.AsyncClient(transport=transport) as http:
        assert await from_prometheus(http, "http://prometheus:9090") == Traffic(0, 0, None)


class _Route:
    def __init__(self, path: str) -> None:
        self.path = path
