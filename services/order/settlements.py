"""Payments that were settled later: takes `payments.settled` from the stream and goes on with the order."""

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from services.order.checkout import Checkout
from services.order.orders import Orders
from services.order.payment_client import PaymentOutcome, PaymentStatus
from shared.messaging import Message, Reject

log = structlog.get_logger()


class _Settled(BaseModel):
    model_config = ConfigDict(extra="ignore")

    payment_key: str
    status: PaymentStatus
    transaction_id: str | None = None
    decline_code: str | None = None


class Settlements:
    """Handles the messages; a repeated one finds the order already gone on, and does nothing."""

    def __init__(self, orders: Orders, checkout: Checkout) -> None:
        self._orders, self._checkout = orders, checkout

    async def handle(self, message: Message) -> None:
        """Settle one order. Raises `Reject` for what can never be handled, `Superseded` to see the message again."""
        try:
            settled = _Settled.model_validate(message.body)
        except ValidationError as error:
            raise Reject(f"not a settlement: {error.error_count()} fields are wrong") from None
        order = await self._orders.get(settled.payment_key)
        if order is None:
            raise Reject(f"no order {settled.payment_key}")
        with structlog.contextvars.bound_contextvars(order_id=order.id):
            outcome = PaymentOutcome(settled.status, settled.transaction_id, settled.decline_code or "")
            await self._checkout.settle(order, outcome)
