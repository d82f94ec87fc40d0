"""One order service with a real database and partners in memory, that can be killed and started again."""

import base64
from pathlib import Path
from typing import Any

from nacl.public import PrivateKey
from sqlalchemy import text

from services.order import tables
from services.order.checkout import Checkout
from services.order.models import NewOrder
from services.order.orders import Order, Orders
from services.order.payment_client import PaymentOutcome, PaymentStatus
from services.order.placing import Placing
from services.order.recovery import Recovery
from services.order.sealing import CardSealer
from services.order.states import State
from shared.chassis.migrations import migrate
from shared.messaging import Broker, Outbox
from tests.integration.order.partners import Fuse, FusedDatabase, Inventory, Payment

MIGRATIONS = Path("services/order/migrations")
SEALING_KEY = base64.b64encode(bytes(PrivateKey.generate().public_key)).decode()


class HandClock:
    """A wall clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def now(self) -> float:
        return self.seconds


def new_order(quantity: int = 1, **changes: Any) -> NewOrder:
    body: dict[str, Any] = {
        "customer": "ada",
        "currency": "EUR",
        "items": [{"sku": "mug", "quantity": quantity}],
        "payment_method": {"type": "card", "number": "4242424242424242"},
        **changes,
    }
    return NewOrder.model_validate(body)


class World:
    """What survives every kill: database, partners, clock. `start()` gives a new process on it."""

    def __init__(self, url: str, stock: int = 5) -> None:
        self.url, self.clock = url, HandClock()
        self.fuse = Fuse()
        self.inventory = Inventory({"mug": stock}, self.fuse)
        self.payment = Payment(self.fuse)
        self.database, self._migrated = FusedDatabase(url, wait_seconds=60), False

    async def start(self, fuse: Fuse | None = None) -> None:
        self.fuse = fuse or Fuse()
        self.inventory.fuse = self.payment.fuse = self.fuse
        if not self._migrated:
            self.database.fuse = Fuse()
            await migrate(self.database, MIGRATIONS)
            self._migrated = True
        self.database.fuse = self.fuse
        outbox = Outbox(self.database, tables.outbox, Broker(""), clock=self.clock)
        self.orders = Orders(self.database, outbox, self.clock)
        self.checkout = Checkout(
            self.orders,
            self.inventory,
            self.payment,
            self.clock,
            hold_seconds=60,
            ask_again_ms=5_000,
            patience_ms=600_000,
        )
        self.placing = Placing(self.orders, self.checkout, self.inventory, CardSealer(SEALING_KEY))
        self.recovery = Recovery(self.orders, self.checkout)

    async def wipe(self) -> None:
        """Forget every order, for the next world on the same database."""
        async with self.database.write() as connection:
            for table in ("order_steps", "orders", "outbox"):
                await connection.execute(text(f"DELETE FROM {table}"))

    async def close(self) -> None:
        await self.database.close()

    async def place(self, key: str = "key-1", wanted: NewOrder | None = None) -> tuple[Order, Any, bool]:
        return await self.placing.place(key, wanted or new_order())

    async def deliver(self) -> int:
        """What the broker and the payment worker do: take the messages out, charge, tell the order service."""
        async with self.database.read() as connection:
            rows = (await connection.execute(text("SELECT id, message_id FROM outbox ORDER BY id"))).all()
        for row in rows:
            order_id = row.message_id.split("-")[1]
            outcome = self.payment.charge(order_id)
            order = await self.orders.get(order_id)
            assert order is not None, "a message for an order that was never committed"
            await self.checkout.settle(order, outcome)
            async with self.database.write() as connection:
                await connection.execute(text("DELETE FROM outbox WHERE id = :id"), {"id": row.id})
        return len(rows)

    async def recover(self, *, rounds: int = 40) -> None:
        """Let time pass, with recovery and delivery at work, until every order is final."""
        for _ in range(rounds):
            self.clock.seconds += 10
            if not self.payment.down:
                await self.deliver()
            await self.recovery.sweep()
            if all(order.is_final for order in await self.all()):
                return
        raise AssertionError([(order.id, order.state) for order in await self.all() if not order.is_final])

    async def all(self) -> list[Order]:
        return await self.orders.page(None, None, 1_000)

    async def check_invariants(self) -> None:
        """Money and stock agree with the states of the orders."""
        for order in await self.all():
            hold = self.inventory.holds.get(order.id, ("NONE", ()))[0]
            paid = self.payment.net(order.id)
            assert self.payment.charges.count(order.id) <= 1, f"{order.id} charged twice"
            if order.state is State.CONFIRMED:
                assert (paid, hold) == (1, "COMMITTED"), f"{order.id}: {paid=} {hold=}"
            elif order.is_final:
                assert paid == 0, f"{order.id} is {order.state} and paid"
                assert hold in ("NONE", "RELEASED", "EXPIRED"), f"{order.id} is {order.state} and {hold}"
                assert order.sealed_card is None
        sold = sum(
            i["quantity"]
            for state, basket in self.inventory.holds.values()
            if state in ("HELD", "COMMITTED")
            for i in basket
        )
        assert self.inventory.free["mug"] + sold == self.inventory.initial["mug"]


def captured(order_id: str) -> PaymentOutcome:
    return PaymentOutcome(PaymentStatus.CAPTURED, f"txn_{order_id}"[:40])
