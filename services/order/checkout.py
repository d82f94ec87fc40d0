"""The checkout: drives an order from state to state until it is final, or until it must wait.

Each state names a step that is written down before it is tried; each step is safe to repeat, because every call carries
the order's id as its key. So there is one way through the machine, used alike by the request that brought the order, by
recovery after a kill, and by the message that a payment was settled.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import StatusCode

from services.order.answers import (
    CONFIRMED,
    PENDING,
    declined,
    inventory_unavailable,
    out_of_stock,
    payment_unavailable,
)
from services.order.downstream import UpstreamRefused
from services.order.inventory_client import HoldGone, HoldRefused, InventoryServiceClient
from services.order.orders import Order, Orders, Outgoing
from services.order.payment_client import (
    UNAVAILABLE,
    PaymentOutcome,
    PaymentServiceClient,
    PaymentStatus,
    charge_request,
)
from services.order.states import State
from shared.chassis.clock import Clock, milliseconds
from shared.telemetry import operation, record_error, remark

CHARGE_SUBJECT = "payments.requested"
_FIRST_WAIT_MS, _MAX_WAIT_MS = 500, 5_000
_LOOKS_BEFORE_GIVING_UP = 2

tracer = trace.get_tracer("holdfast.order")


class Checkout:
    """Takes orders through the steps.

    hold_seconds: how long stock is held for an order that is not paid yet
    ask_again_ms: when an order whose payment is queued is first looked after; the wait doubles from there
    patience_ms: how long a queued payment may take before the order is cancelled
    """

    def __init__(
        self,
        orders: Orders,
        inventory: InventoryServiceClient,
        payment: PaymentServiceClient,
        clock: Clock,
        *,
        hold_seconds: int,
        ask_again_ms: int,
        patience_ms: int,
    ) -> None:
        self._orders, self._inventory, self._payment, self._clock = orders, inventory, payment, clock
        self._hold_seconds, self._ask_again_ms, self._patience_ms = hold_seconds, ask_again_ms, patience_ms
        self._steps: dict[State, Callable[[Order], Awaitable[Order]]] = {
            State.RESERVING: self._reserve,
            State.CHARGING: self._charge,
            State.CONFIRMING: self._confirm,
            State.CANCELLING: self._give_back,
        }

    async def run(self, order: Order) -> Order:
        """Take the order as far as it goes now: to a final state, to PENDING_PAYMENT, or to a step that must wait.

        Raises `Superseded` when somebody else has taken the order over.
        """
        while (step := self._steps.get(order.state)) is not None:
            before = order.state
            try:
                order = await step(order)
            except (*UNAVAILABLE, UpstreamRefused) as error:
                remark("order waits", order_id=order.id, state=order.state, error=type(error).__name__)
                return await self._orders.postpone(order, self._backoff_ms(order))
            if order.state is before or _told_already(order):
                return order
        return order

    async def settle(self, order: Order, outcome: PaymentOutcome) -> Order:
        """Go on with an order whose queued payment has come to an end."""
        if order.state is not State.PENDING_PAYMENT:
            return order
        match outcome.status:
            case PaymentStatus.CAPTURED:
                order = await self._paid(order, outcome)
            case PaymentStatus.DECLINED:
                order = await self._declined(order, outcome)
            case PaymentStatus.VOIDED | PaymentStatus.REFUNDED | PaymentStatus.REFUNDING:
                order = await self._cancel(order, State.CANCELLED, "payment was voided")
            case _:
                return order
        return await self.run(order)

    async def look_after(self, order: Order) -> Order:
        """Ask for a payment that is queued for long: settle it, queue it again, or give up after the patience."""
        outcome = await self._payment.payment_status(order.id)
        settled = await self.settle(order, outcome)
        if settled.state is not State.PENDING_PAYMENT:
            return settled
        # a clock that jumps ahead has every patience end at once: it has to be asked for a few times besides
        waited_for = milliseconds(self._clock) - order.created_at
        if waited_for >= self._patience_ms and order.tries >= _LOOKS_BEFORE_GIVING_UP:
            return await self.cancel(order, "payment was not settled in time")
        if outcome.status is PaymentStatus.UNKNOWN:
            return await self._orders.postpone(order, self._ask_again_ms)
        # a message can be lost with its broker's disk; a second one is harmless, the charge is keyed
        tries = order.tries + 1
        message = Outgoing(CHARGE_SUBJECT, charge_request(order), f"charge-{order.id}-{tries}")
        wait = self._ask_again_ms * 2 ** min(tries, 6)
        return await self._orders.advance(
            order,
            State.PENDING_PAYMENT,
            f"payment queued again, {outcome.status}",
            message=message,
            wait_ms=wait,
            tries=tries,
        )

    async def cancel(self, order: Order, detail: str) -> Order:
        """Give back what the order took, and end it CANCELLED."""
        return await self.run(await self._cancel(order, State.CANCELLED, detail))

    async def _reserve(self, order: Order) -> Order:
        with operation(tracer, "reserveInventory") as span:
            try:
                await self._inventory.reserve(order.id, order.items, self._hold_seconds)
            except HoldRefused as refused:
                return await self._reject(order, refused)
            except (*UNAVAILABLE, UpstreamRefused) as error:
                record_error(span, error)
                # the key is given free: the customer may try again, with the same key, as a new order
                detail = f"inventory is unavailable: {type(error).__name__}"
                return await self._cancel(
                    order, State.FAILED, detail, answer=inventory_unavailable(), idempotency_key=None
                )
        trace.get_current_span().add_event("Inventory reserved")
        return await self._orders.advance(order, State.CHARGING, "stock is held, card to be charged", charge_begun=1)

    async def _reject(self, order: Order, refused: HoldRefused) -> Order:
        answer, detail = out_of_stock(refused.shortages), "not enough stock"
        if refused.attempt == 1 and order.version == 1:
            return await self._orders.advance(order, State.REJECTED, detail, answer=answer)
        # an earlier attempt may still be on its way and find stock that has come back: it must be refused there
        return await self._cancel(order, State.REJECTED, detail, answer=answer)

    async def _charge(self, order: Order) -> Order:
        with operation(tracer, "processPayment") as span:
            try:
                outcome = await self._payment.process_payment(order)
            except (*UNAVAILABLE, UpstreamRefused) as error:
                record_error(span, error)
                return await self._give_up_unpaid(order, error)
            if outcome.status is PaymentStatus.PENDING:
                span.set_status(StatusCode.ERROR, f"payment is queued: {outcome.reason}")
        about = {"status": outcome.status, "transactionId": outcome.transaction_id or ""}
        trace.get_current_span().add_event("Payment processed", about)
        match outcome.status:
            case PaymentStatus.CAPTURED:
                return await self._paid(order, outcome)
            case PaymentStatus.DECLINED:
                return await self._declined(order, outcome)
            case PaymentStatus.PENDING:
                return await self._queue(order, outcome)
            case _:
                return await self._cancel(order, State.CANCELLED, f"payment is {outcome.status}")

    async def _give_up_unpaid(self, order: Order, error: BaseException) -> Order:
        # without a fallback nobody promises a later charge; recovery gives back, as payment is not there to be asked
        return await self._cancel(
            order,
            State.FAILED,
            f"payment is unavailable: {type(error).__name__}",
            answer=payment_unavailable(),
            idempotency_key=None,
            wait_ms=_FIRST_WAIT_MS,
        )

    async def _queue(self, order: Order, outcome: PaymentOutcome) -> Order:
        message = Outgoing(CHARGE_SUBJECT, charge_request(order), f"charge-{order.id}-0")
        return await self._orders.advance(
            order,
            State.PENDING_PAYMENT,
            f"payment is queued: {outcome.reason}",
            message=message,
            wait_ms=self._ask_again_ms,
            answer=PENDING,
        )

    async def _paid(self, order: Order, outcome: PaymentOutcome) -> Order:
        return await self._orders.advance(
            order, State.CONFIRMING, "card is charged, sale to be confirmed", transaction_id=outcome.transaction_id
        )

    async def _declined(self, order: Order, outcome: PaymentOutcome) -> Order:
        # a decline is final for its key: there is nothing to refund
        return await self._cancel(
            order,
            State.DECLINED,
            f"card was declined: {outcome.reason}",
            answer=order.answer or declined(outcome.reason),
            transaction_id=outcome.transaction_id,
            charge_begun=0,
        )

    async def _confirm(self, order: Order) -> Order:
        try:
            await self._inventory.commit(order.id)
        except HoldGone:
            try:
                await self._inventory.reserve(order.id, order.items, self._hold_seconds)
                await self._inventory.commit(order.id)
            except (HoldRefused, HoldGone):
                return await self._cancel(order, State.CANCELLED, "the hold expired and the stock is gone")
        return await self._orders.advance(order, State.CONFIRMED, "sale is confirmed", answer=order.answer or CONFIRMED)

    async def _give_back(self, order: Order) -> Order:
        if order.charge_begun:
            await self._payment.refund(order.id, "order cancelled")
        await self._inventory.release(order.id)
        ending = order.ending or State.CANCELLED
        return await self._orders.advance(order, ending, "money and stock are given back")

    async def _cancel(self, order: Order, ending: State, detail: str, **changes: Any) -> Order:
        return await self._orders.advance(order, State.CANCELLING, detail, ending=ending, **changes)

    @staticmethod
    def _backoff_ms(order: Order) -> int:
        return int(min(_FIRST_WAIT_MS * 2 ** min(order.tries, 10), _MAX_WAIT_MS))


def _told_already(order: Order) -> bool:
    """The customer has been refused, and does not wait until a payment service that fails has given back."""
    return order.state is State.CANCELLING and order.ending is State.FAILED and order.charge_begun
