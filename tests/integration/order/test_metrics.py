"""What Prometheus is told of orders."""

from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.dialects import sqlite

from services.order.metrics import OrderMetrics
from services.order.orders import _UNFINISHED
from tests.integration.order.partners import Fuse, Killed
from tests.integration.order.world import World


class Measured:
    """A world whose orders are counted."""

    def __init__(self, world: World) -> None:
        self.world, self.registry = world, CollectorRegistry()
        self.metrics = OrderMetrics(self.registry)
        self.attach()

    def attach(self) -> None:
        """Count for the process that runs now."""
        self.world.orders._ended, self.world.orders._resumed = self.metrics.ended, self.metrics.resumed

    async def value(self, name: str, **labels: str) -> float | None:
        await self.metrics.refresh(self.world.orders)
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
async def measured(database_url: str) -> AsyncIterator[Measured]:
    world = World(database_url, stock=3)
    await world.start(Fuse())
    yield Measured(world)
    await world.close()


async def test_orders_are_counted_by_the_state_that_they_end_in(measured: Measured) -> None:
    await measured.world.place("one")
    measured.world.payment.declines = True
    await measured.world.place("two")
    assert await measured.value("orders_ended_total", state="CONFIRMED") == 1
    assert await measured.value("orders_ended_total", state="DECLINED") == 1
    assert await measured.value("orders_ended_total", state="CANCELLED") == 0


async def test_a_queued_payment_is_counted_and_grows_old_until_it_settles(measured: Measured) -> None:
    world = measured.world
    world.payment.down = True
    await world.place("one")
    world.clock.seconds += 30
    await world.place("two")
    assert await measured.value("queued_payments") == 2
    assert await measured.value("queued_payments_oldest_seconds") == 30
    assert await measured.value("orders_unfinished", state="PENDING_PAYMENT") == 2
    world.payment.down = False
    await world.recover()
    assert await measured.value("queued_payments") == 0
    assert await measured.value("queued_payments_oldest_seconds") == 0
    assert await measured.value("orders_ended_total", state="CONFIRMED") == 2


async def test_an_order_taken_over_by_a_repeat_of_its_request_counts_as_resumed(measured: Measured) -> None:
    world = measured.world
    await world.start(Fuse(8))
    with pytest.raises(Killed):
        await world.place()
    await world.start()
    measured.attach()
    stuck = (await world.orders.page(None, None, 1))[0].state
    assert await measured.value("orders_resumed_total", state=stuck) == 0
    world.clock.seconds += 30
    await world.place()
    assert await measured.value("orders_resumed_total", state=stuck) == 1


async def test_the_gauges_do_not_read_the_orders_that_are_final(measured: Measured) -> None:
    if not measured.world.database.is_sqlite:
        pytest.skip("the planner of Postgres reads small tables whole")
    statement = _UNFINISHED.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    async with measured.world.database.read() as connection:
        plan = (await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")).all()
    assert [row[-1] for row in plan] == ["SEARCH orders USING INDEX orders_by_state (state=?)"]
