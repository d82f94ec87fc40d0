"""Recovery: takes over orders that nobody works on any more, whatever killed or stopped their worker."""

import asyncio

import structlog
from opentelemetry import trace

from services.order.checkout import Checkout
from services.order.orders import Order, Orders, Superseded
from services.order.states import State
from shared.telemetry import operation

_INTERVAL_SECONDS = 0.5
_BATCH = 100
_CONCURRENT = 16

log = structlog.get_logger()
tracer = trace.get_tracer("holdfast.order")


class Recovery:
    """Looks for orders whose time has come, and drives them on. Any number of replicas may do so at once."""

    def __init__(self, orders: Orders, checkout: Checkout) -> None:
        self._orders, self._checkout = orders, checkout
        self._slots = asyncio.Semaphore(_CONCURRENT)

    async def run(self) -> None:
        """Recover for ever."""
        while True:
            if not await self.sweep():
                await asyncio.sleep(_INTERVAL_SECONDS)

    async def sweep(self) -> int:
        """Drive on every order that is due now; how many there were."""
        due = await self._orders.due(_BATCH)
        async with asyncio.TaskGroup() as group:
            for order in due:
                group.create_task(self._resume(order))
        return len(due)

    async def _resume(self, order: Order) -> None:
        async with self._slots:
            with structlog.contextvars.bound_contextvars(order_id=order.id):
                try:
                    await self._go_on(order)
                except Superseded:
                    log.debug("order was taken over by another replica")
                except Exception:
                    # one order that cannot go on must not keep the others from it; its lease brings it back
                    log.exception("order could not be resumed", state=order.state)

    async def _go_on(self, order: Order) -> None:
        claimed = await self._orders.claim(order)
        with operation(tracer, "resumeOrder", parent=order.traceparent) as span:
            span.set_attributes({"order.id": order.id, "order.state": order.state})
            if claimed.state is State.PENDING_PAYMENT:
                await self._checkout.look_after(claimed)
            else:
                await self._checkout.run(claimed)
