"""Readiness: what it says, and that nothing makes it hang."""

import asyncio
import contextlib
from typing import Any

import httpx
import pytest

from shared.chassis.health import Health
from tests.unit.chassis.shop import Shop


async def up() -> None:
    pass


async def down() -> None:
    raise ConnectionError("password=hunter2")


@pytest.fixture
def health() -> Health:
    health = Health(check_seconds=0.02)
    health.started = True
    return health


async def test_ready_with_all_up(health: Health) -> None:
    health.add("database", up, required=True)
    assert await health.readiness() == (
        True,
        {"status": "ready", "dependencies": {"database": {"status": "up", "required": True}}},
    )


@pytest.mark.parametrize(("required", "ready"), [(True, False), (False, True)])
async def test_only_what_is_required_makes_unready(health: Health, required: bool, ready: bool) -> None:
    health.add("payment", down, required=required)
    is_ready, body = await health.readiness()
    assert is_ready is ready
    expected = {"status": "down", "required": required, "reason": "ConnectionError"}
    assert body["dependencies"]["payment"] == expected


async def test_not_ready_before_the_start_and_while_draining(health: Health) -> None:
    health.started = False
    assert await health.readiness() == (False, {"status": "not ready", "dependencies": {}})
    health.started = health.draining = True
    assert await health.readiness() == (False, {"status": "draining", "dependencies": {}})


async def test_a_check_that_hangs_and_cannot_be_cancelled_does_not_hang_readiness(health: Health) -> None:
    asked, let_go = 0, asyncio.Event()

    async def hang() -> None:
        nonlocal asked
        asked += 1
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()

    health.add("broker", hang, required=False)
    health.add("database", up, required=True)
    for _ in range(3):
        ready, body = await health.readiness()
        assert ready
        assert body["dependencies"]["broker"]["reason"] == "no answer within 0.02 s"
        assert body["dependencies"]["database"]["status"] == "up"
    assert asked == 1  # questions do not pile up
    let_go.set()
    await asyncio.sleep(0)
    assert (await health.readiness())[1]["dependencies"]["broker"]["status"] == "up"
    assert asked == 2


async def test_checks_run_side_by_side(health: Health) -> None:
    barrier = asyncio.Barrier(3)

    async def meet() -> None:
        await barrier.wait()

    for name in "abc":
        health.add(name, meet, required=True)
    assert (await health.readiness())[0]


@pytest.mark.parametrize("error", [asyncio.CancelledError, ExceptionGroup("g", [ValueError()]), StopAsyncIteration])
async def test_whatever_a_check_raises_means_down(health: Health, error: Any) -> None:
    async def fail() -> None:
        raise error

    def fail_at_once() -> Any:
        raise ValueError

    health.add("x", fail, required=True)
    health.add("y", fail_at_once, required=True)
    ready, body = await health.readiness()
    assert not ready
    assert {body["dependencies"][name]["status"] for name in "xy"} == {"down"}


async def test_details_are_shown_and_an_unreadable_one_hurts_nobody(health: Health) -> None:
    health.add_detail("breakers", lambda: {"payment": "open"})
    health.add_detail("broken", lambda: 1 / 0)
    ready, body = await health.readiness()
    assert ready
    assert (body["breakers"], body["broken"]) == ({"payment": "open"}, "unreadable: ZeroDivisionError")


async def test_the_addresses_of_health_answer_as_the_contract_says(shop: Shop, http: httpx.AsyncClient) -> None:
    assert (await http.get("/health/live")).json() == {"status": "alive"}
    assert (await http.get("/health/startup")).status_code == 200
    ready = await http.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json()["dependencies"]["database"] == {"status": "up", "required": True}
    info = (await http.get("/info")).json()
    assert (info["service"], info["version"], info["api_version"], info["database"]) == (
        "shop",
        "1.2.3",
        "v1",
        "sqlite",
    )
    await shop.chassis.database.close()
    down = await http.get("/health/ready")
    assert down.status_code == 503
    assert down.json()["dependencies"]["database"]["reason"] == "DatabaseUnavailable"


async def test_before_the_start_readiness_and_startup_say_no(tmp_path: Any) -> None:
    shop = Shop(tmp_path)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(shop.app), base_url="http://shop") as http:
        assert (await http.get("/health/live")).status_code == 200
        assert (await http.get("/health/startup")).status_code == 503
        assert (await http.get("/health/ready")).status_code == 503
    await shop.chassis.database.close()


async def test_the_parts_are_up_while_the_service_runs_and_closed_after(tmp_path: Any) -> None:
    shop = Shop(tmp_path)
    running = asyncio.Event()

    async def work() -> None:
        assert shop.opened
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            assert shop.opened  # background tasks end before what they use
            running.clear()

    shop.chassis.background.add("work", work)
    async with shop.app.router.lifespan_context(shop.app):
        await running.wait()
    assert not running.is_set()
    assert not shop.opened
    assert shop.chassis.health.draining
