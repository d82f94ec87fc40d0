"""Shedding: what counts as too much, and for whom."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from shared.chassis.admission import Admission, Priorities, Priority, is_operation


def test_new_requests_are_shed_at_four_fifths_and_running_ones_at_the_limit() -> None:
    admission = Admission(10, CollectorRegistry())
    refused: dict[Priority, int] = {}
    for number in range(12):
        for priority in Priority:
            if admission.refusal(priority):
                refused.setdefault(priority, number)
        admission.enter()
    assert refused == {Priority.NEW: 8, Priority.RUNNING: 10}
    for _ in range(12):
        admission.leave()
    assert admission.refusal(Priority.NEW) is None


def test_the_smallest_service_takes_one_of_each() -> None:
    admission = Admission(1, CollectorRegistry())
    assert admission.refusal(Priority.NEW) is None
    admission.enter()
    assert admission.refusal(Priority.NEW) == admission.refusal(Priority.RUNNING) == "requests"


def test_a_full_line_sheds_new_requests_and_nobody_else() -> None:
    admission = Admission(10, CollectorRegistry())
    full = True
    admission.line_is_full = lambda: full
    assert [admission.refusal(priority) for priority in Priority] == [None, None, "line"]
    full = False
    assert admission.refusal(Priority.NEW) is None


@pytest.mark.parametrize(
    ("lag", "shed"), [(0.75, set()), (0.76, {Priority.NEW}), (3.1, {Priority.NEW, Priority.RUNNING})]
)
def test_lag_sheds_new_first_and_health_never(lag: float, shed: set[Priority]) -> None:
    admission = Admission(10, CollectorRegistry())
    admission.lag_seconds = lag
    assert {priority for priority in Priority if admission.refusal(priority)} == shed


async def test_lag_follows_how_late_timers_run_and_recovers() -> None:
    now, late, seen = 0.0, [0.0, 2.0, 2.0, 2.0] + [0.0] * 6, list[float]()
    finished = asyncio.Event()

    async def sleep(seconds: float) -> None:
        nonlocal now
        seen.append(round(admission.lag_seconds, 3))
        if not late:
            finished.set()
            await asyncio.Event().wait()
        now += seconds + late.pop(0)

    admission = Admission(10, CollectorRegistry(), monotonic=lambda: now, sleep=sleep)
    task = asyncio.create_task(admission.watch_lag())
    await finished.wait()
    task.cancel()
    assert seen == [0.0, 0.0, 1.0, 1.5, 1.75, 0.875, 0.438, 0.219, 0.109, 0.055, 0.027]


def test_priorities_match_whole_templates_and_nothing_else() -> None:
    rules = Priorities({"POST /orders": Priority.NEW, "GET /v1.0/orders/{id}/steps/{step}": Priority.NEW})
    assert rules.of("POST", "/orders", {}) is Priority.NEW
    assert rules.of("GET", "/v1.0/orders/o-1/steps/2", {}) is Priority.NEW
    for method, path in [
        ("GET", "/orders"), ("POST", "/orders/"), ("POST", "/orders/1"), ("GET", "/v1.0/orders/a/b/steps/2"),
        ("GET", "/v1x0/orders/a/steps/2"), ("GET", "/v1.0/orders//steps/2"),
    ]:  # fmt: skip
        assert rules.of(method, path, {}) is Priority.RUNNING


@pytest.mark.parametrize(
    ("value", "priority"),
    [(b"new", Priority.NEW), (b" NEW ", Priority.NEW), (b"health", Priority.RUNNING), (b"running", Priority.RUNNING),
     (b"\xff", Priority.RUNNING), (b"", Priority.RUNNING)],
)  # fmt: skip
def test_a_caller_may_lower_its_priority_and_never_raise_it(value: bytes, priority: Priority) -> None:
    rules = Priorities({"POST /orders": Priority.NEW})
    assert rules.of("GET", "/orders/1", {b"x-priority": value}) is priority
    assert rules.of("POST", "/orders", {b"x-priority": value}) is Priority.NEW
    assert rules.of("GET", "/health/ready", {b"x-priority": value}) is Priority.HEALTH


def test_only_the_addresses_of_operations_are_operations() -> None:
    assert all(map(is_operation, ("/health/live", "/health/ready", "/health/startup", "/metrics", "/info")))
    assert not any(map(is_operation, ("/", "/healthy", "/health", "/metrics/x", "/information", "/orders/health/live")))
