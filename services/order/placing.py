"""Placing an order: one order for one idempotency key, whatever is sent how often, to whichever replica."""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from opentelemetry import trace

from services.order.answers import (
    CONFIRMED,
    Stored,
    accepted,
    cancelled,
    inventory_unavailable,
    out_of_stock,
    problem_of,
)
from services.order.checkout import Checkout
from services.order.downstream import UpstreamRefused
from services.order.inventory_client import Basket, BasketRefused, InventoryServiceClient, Quote
from services.order.models import NewOrder
from services.order.orders import Order, Orders, Superseded
from services.order.payment_client import UNAVAILABLE
from services.order.sealing import CardSealer
from services.order.states import State
from shared.chassis.ids import new_id
from shared.chassis.problems import Problem, invalid
from shared.resilience import remaining
from shared.telemetry import operation, traceparent

_POLL_FIRST_SECONDS, _POLL_MAX_SECONDS = 0.05, 0.4

tracer = trace.get_tracer("holdfast.order")


class Placing:
    """Takes new orders in and answers them."""

    def __init__(
        self, orders: Orders, checkout: Checkout, inventory: InventoryServiceClient, sealer: CardSealer
    ) -> None:
        self._orders, self._checkout, self._inventory = orders, checkout, inventory
        self._sealer = sealer
        self._begun_here: dict[str, asyncio.Future[None]] = {}

    async def place(self, key: str, wanted: NewOrder) -> tuple[Order, Stored, bool]:
        """The order, the answer to give, and whether it is a repetition. Raises `Problem`."""
        fingerprint = _fingerprint(wanted)
        basket = [item.model_dump() for item in wanted.items]
        quote = self._remembered(basket, wanted.currency)
        if quote is None:
            known = await self._orders.by_key(key)
            if known is not None:
                return await self._follow(known, fingerprint)
            quote = await self._quote(basket, wanted.currency)
        # where no one has to be asked, that the key is taken shows when the order is written down: a query less
        order = await self._begin(key, fingerprint, wanted, quote)
        if order is None:  # the key is taken
            known = await self._orders.by_key(key)
            if known is None:
                raise problem_of(inventory_unavailable())
            return await self._follow(known, fingerprint)
        return (*await self._drive(order), False)

    def _remembered(self, basket: Basket, currency: str) -> Quote | None:
        quote = self._inventory.remembered(basket, currency)
        if quote is not None:
            with operation(tracer, "checkInventory"):
                pass  # the trace has each step of the order, also one that takes no time
            trace.get_current_span().add_event("Inventory checked", {"available": True})
        return quote

    async def _quote(self, basket: Basket, currency: str) -> Quote:
        with operation(tracer, "checkInventory"):
            try:
                quote = await self._inventory.quote(basket, currency)
            except BasketRefused as refused:
                raise Problem(422, refused.slug, "Invalid input", errors=refused.errors) from None
            except (*UNAVAILABLE, UpstreamRefused):
                raise problem_of(inventory_unavailable()) from None
        trace.get_current_span().add_event("Inventory checked", {"available": not quote.shortages})
        if quote.shortages:
            raise problem_of(out_of_stock(quote.shortages))
        return quote

    async def _begin(self, key: str, fingerprint: str, wanted: NewOrder, quote: Quote) -> Order | None:
        items = [{**item.model_dump(), "unit_price": quote.unit_prices[item.sku]} for item in wanted.items]
        order_id = new_id("ord")
        structlog.contextvars.bind_contextvars(order_id=order_id)
        amount = sum(item["unit_price"] * item["quantity"] for item in items)
        trace.get_current_span().set_attributes({"order.id": order_id, "order.amount": amount})
        number = wanted.payment_method.number
        return await self._orders.begin(
            {
                "id": order_id,
                "idempotency_key": key,
                "fingerprint": fingerprint,
                "customer": wanted.customer,
                "currency": wanted.currency,
                "total_amount": amount,
                "items": items,
                "card_last4": number.get_secret_value()[-4:],
                "sealed_card": self._sealer.seal(number),
                "traceparent": traceparent(),
            }
        )

    async def _drive(self, order: Order) -> tuple[Order, Stored]:
        done = self._begun_here[order.id] = asyncio.get_running_loop().create_future()
        try:
            order = await self._checkout.run(order)
        except Superseded:
            return await self._await_answer(order.id)
        finally:
            del self._begun_here[order.id]
            done.set_result(None)
        return order, _answer(order)

    async def _follow(self, order: Order, fingerprint: str) -> tuple[Order, Stored, bool]:
        if order.fingerprint != fingerprint:
            raise invalid("Idempotency-Key", "was used for another order", slug="idempotency-key-reused")
        structlog.contextvars.bind_contextvars(order_id=order.id)
        trace.get_current_span().set_attribute("order.id", order.id)
        if order.answer is not None:
            return order, order.answer, True
        return (*await self._await_answer(order.id), True)

    async def _await_answer(self, order_id: str) -> tuple[Order, Stored]:
        wait = _POLL_FIRST_SECONDS
        while True:
            order = await self._orders.get(order_id)
            if order is None:
                raise LookupError(order_id)
            if order.answer is not None or order.is_final:
                return order, _answer(order)
            if self._orders.is_due(order):
                try:  # whoever worked on it is gone
                    return await self._drive(await self._orders.claim(order))
                except Superseded:
                    continue
            left = remaining()
            if left is not None and left <= wait:
                raise Problem(409, "request-in-progress", "The same request is under way", headers={"Retry-After": "1"})
            await self._another_turn(order_id, wait)
            wait = min(wait * 2, _POLL_MAX_SECONDS)

    async def _another_turn(self, order_id: str, seconds: float) -> None:
        begun_here = self._begun_here.get(order_id)
        if begun_here is None:
            await asyncio.sleep(seconds)
        else:
            await asyncio.wait([begun_here], timeout=seconds)


def _answer(order: Order) -> Stored:
    if order.answer is not None:
        return order.answer
    if order.state in (State.CANCELLING, State.CANCELLED):
        return cancelled("the payment was not taken, or is given back")
    return CONFIRMED if order.state is State.CONFIRMED else accepted(order.state)


def _fingerprint(wanted: NewOrder) -> str:
    # of the card only what is stored anyway: a hash over a whole card number can be searched
    content: Mapping[str, Any] = {
        "customer": wanted.customer,
        "currency": wanted.currency,
        "items": [item.model_dump() for item in wanted.items],
        "card": wanted.payment_method.number.get_secret_value()[-4:],
    }
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
