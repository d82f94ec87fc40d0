"""Inventory and payment as the checkout sees them, in memory: the same promises, failures on demand.

They stand in at our own edge (the two client classes), so that a test can kill the checkout at every single point.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import httpx
from sqlalchemy import Connection

from services.order.inventory_client import Basket, HoldGone, HoldRefused, Quote
from services.order.orders import Order
from services.order.payment_client import PaymentOutcome, PaymentStatus
from shared.chassis.database import Database

T = TypeVar("T")


class Killed(BaseException):
    """The process is gone: nothing catches this."""


class Fuse:
    """Kills at the n-th point that is passed; counts the points when it never burns."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.passed = at, 0

    def point(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            raise Killed


class FusedDatabase(Database):
    """A database whose process may die just before and just after each commit."""

    fuse = Fuse()

    async def transact(self, body: Callable[[Connection], T]) -> T:
        def fused(connection: Connection) -> T:
            result = body(connection)
            self.fuse.point()
            return result

        result = await super().transact(fused)
        self.fuse.point()
        return result

    async def once(self, body: Callable[[Connection], T]) -> T:
        if self.is_sqlite:
            return await super().once(body)  # which is `transact`
        self.fuse.point()  # a statement is its own commit: there is only before and after
        result = await super().once(body)
        self.fuse.point()
        return result


class Inventory:
    """Stock of one price list; holds by order."""

    def __init__(self, stock: Mapping[str, int], fuse: Fuse) -> None:
        self.free, self.initial, self.fuse = dict(stock), dict(stock), fuse
        self.holds: dict[str, tuple[str, Sequence[Mapping[str, Any]]]] = {}
        self.down = False
        self.remembers = False

    def remembered(self, basket: Basket, _currency: str) -> Quote | None:
        return Quote(dict.fromkeys((i["sku"] for i in basket), 250), []) if self.remembers else None

    async def quote(self, basket: Basket, _currency: str) -> Quote:
        self._reach()
        short = [
            {"sku": i["sku"], "quantity": i["quantity"], "available": self.free[i["sku"]]}
            for i in basket
            if self.free[i["sku"]] < i["quantity"]
        ]
        return Quote(dict.fromkeys((i["sku"] for i in basket), 250), short)

    async def reserve(self, order_id: str, basket: Basket, _ttl_seconds: int) -> None:
        self._reach()
        state, _ = self.holds.get(order_id, ("EXPIRED", ()))
        if state == "EXPIRED":
            if any(self.free[i["sku"]] < i["quantity"] for i in basket):
                raise HoldRefused([{"sku": i["sku"], "quantity": i["quantity"], "available": 0} for i in basket])
            self._move(basket, -1)
            self.holds[order_id] = ("HELD", basket)
        self.fuse.point()

    async def commit(self, order_id: str) -> None:
        self._reach()
        state, basket = self.holds.get(order_id, ("EXPIRED", ()))
        if state in ("EXPIRED", "RELEASED"):
            raise HoldGone(order_id)
        self.holds[order_id] = ("COMMITTED", basket)
        self.fuse.point()

    async def release(self, order_id: str) -> None:
        self._reach()
        state, basket = self.holds.get(order_id, ("EXPIRED", ()))
        if state in ("HELD", "COMMITTED"):
            self._move(basket, +1)
        self.holds[order_id] = ("RELEASED", basket)
        self.fuse.point()

    def expire(self, order_id: str) -> None:
        _, basket = self.holds[order_id]
        self._move(basket, +1)
        self.holds[order_id] = ("EXPIRED", basket)

    def _move(self, basket: Basket, sign: int) -> None:
        for item in basket:
            self.free[item["sku"]] += sign * item["quantity"]

    def _reach(self) -> None:
        self.fuse.point()
        if self.down:
            raise httpx.ConnectError("inventory is down")


class Payment:
    """Charges by order; counts the money that really moved."""

    def __init__(self, fuse: Fuse) -> None:
        self.fuse = fuse
        self.status: dict[str, PaymentStatus] = {}
        self.charges: list[str] = []
        self.refunds: list[str] = []
        self.down = self.declines = self.loses_answers = False

    def net(self, order_id: str) -> int:
        return self.charges.count(order_id) - self.refunds.count(order_id)

    def charge(self, order_id: str) -> PaymentOutcome:
        known = self.status.get(order_id)
        if known is None:
            known = self.status[order_id] = PaymentStatus.DECLINED if self.declines else PaymentStatus.CAPTURED
            if known is PaymentStatus.CAPTURED:
                self.charges.append(order_id)
        return PaymentOutcome(known, f"txn_{order_id}"[:40])

    async def process_payment(self, order: Order) -> PaymentOutcome:
        self.fuse.point()
        if self.down:
            return PaymentOutcome(PaymentStatus.PENDING, reason="ConnectError")
        outcome = self.charge(order.id)
        self.fuse.point()
        return PaymentOutcome(PaymentStatus.PENDING, reason="AttemptTimeout") if self.loses_answers else outcome

    async def payment_status(self, order_id: str) -> PaymentOutcome:
        self.fuse.point()
        if self.down:
            return PaymentOutcome(PaymentStatus.UNKNOWN)
        return PaymentOutcome(self.status.get(order_id, PaymentStatus.ABSENT), f"txn_{order_id}"[:40])

    async def refund(self, order_id: str, _reason: str) -> PaymentOutcome:
        self.fuse.point()
        if self.down:
            raise httpx.ConnectError("payment is down")
        if self.status.get(order_id) is PaymentStatus.CAPTURED:
            self.refunds.append(order_id)
            self.status[order_id] = PaymentStatus.REFUNDED
        self.status.setdefault(order_id, PaymentStatus.VOIDED)
        self.fuse.point()
        return PaymentOutcome(self.status[order_id])
