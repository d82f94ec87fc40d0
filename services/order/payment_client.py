"""The payment service as the order service sees it: `PaymentServiceClient`.

Charging is guarded by breaker, retry, bulkhead and time limit; when all of that ends without an answer, the fallback
says PENDING, and the checkout queues the payment in the same transaction that writes the state down. Asking for a
status has a lighter policy of its own and falls back to UNKNOWN.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import httpx
from prometheus_client import CollectorRegistry, Counter

from services.order.downstream import Answer, ServiceClient, UpstreamUnavailable
from services.order.orders import Order
from shared.resilience import DeadlineExceeded, Registry, ResilienceError
from shared.telemetry import remark

UNAVAILABLE = (ResilienceError, UpstreamUnavailable, httpx.TransportError, TimeoutError)
"""What may come out of a guarded call when the other side did not answer in time, or at all."""


class PaymentStatus(StrEnum):
    """What is known of a payment."""

    CAPTURED = "CAPTURED"
    DECLINED = "DECLINED"
    VOIDED = "VOIDED"
    REFUNDED = "REFUNDED"
    REFUNDING = "REFUNDING"
    PROCESSING = "PROCESSING"
    PENDING = "PENDING"
    UNKNOWN = "UNKNOWN"
    ABSENT = "ABSENT"


@dataclass(frozen=True, slots=True)
class PaymentOutcome:
    """The answer of the payment service, or of a fallback in its place.

    reason: the decline code, or why a fallback answered
    """

    status: PaymentStatus
    transaction_id: str | None = None
    reason: str = ""


class PaymentServiceClient:
    """Charges, asks and refunds. Every call names the payment by the order's id, so repeating one is harmless."""

    def __init__(self, service: ServiceClient, registry: Registry, metrics: CollectorRegistry) -> None:
        self._service = service
        self._process = registry.pipeline("payment.process")
        self._status = registry.pipeline("payment.status")
        self._refund = registry.pipeline("payment.refund")
        self._success = _counter(metrics, "success", "Payment service calls that were answered, declines included")
        self._failure = _counter(metrics, "failure", "Payment service calls that failed, after retries")
        self._fallback = _counter(metrics, "fallback", "Payment service calls answered by a fallback")

    async def process_payment(self, order: Order) -> PaymentOutcome:
        """Charge the order once. PENDING when nobody knows: the charge must then be asked for again, later.

        Where the fallback is switched off, nobody answers in the place of payment: raises one of `UNAVAILABLE`, or
        `UpstreamRefused`.
        """
        try:
            outcome: PaymentOutcome = await self._process.call(
                self._attempt, order, idempotent=True, fallback=self._payment_pending
            )
        except DeadlineExceeded as error:  # before the first attempt: then the library asks no fallback
            if not self._process.layers["fallback"]:
                raise
            outcome = await self._payment_pending(error)
        if outcome.status is not PaymentStatus.PENDING:
            self._success.inc()
        return outcome

    async def payment_status(self, order_id: str) -> PaymentOutcome:
        """What the payment service knows of the order's payment. UNKNOWN when it does not answer."""
        outcome: PaymentOutcome = await self._status.call(
            self._ask, order_id, idempotent=True, fallback=self._status_unknown
        )
        if outcome.status is not PaymentStatus.UNKNOWN:
            self._success.inc()
        return outcome

    async def refund(self, order_id: str, reason: str) -> PaymentOutcome:
        """Give back whatever was charged, and refuse what might still be on its way. Raises one of `UNAVAILABLE`."""
        try:
            outcome: PaymentOutcome = await self._refund.call(self._give_back, order_id, reason, idempotent=True)
        except UNAVAILABLE:
            self._failure.inc()
            raise
        self._success.inc()
        return outcome

    async def _attempt(self, order: Order) -> PaymentOutcome:
        answer = await self._service.call("POST", "/process", charge_request(order))
        if answer.status == 200:
            return PaymentOutcome(PaymentStatus.CAPTURED, answer.body["transaction_id"])
        if answer.status == 402:
            return PaymentOutcome(
                PaymentStatus.DECLINED, answer.body.get("transaction_id"), str(answer.body.get("decline_code", ""))
            )
        if answer.slug == "payment-voided":
            return PaymentOutcome(PaymentStatus.VOIDED, reason=answer.slug)
        raise self._service.refused(answer)

    async def _ask(self, order_id: str) -> PaymentOutcome:
        answer = await self._service.call("GET", f"/payments/{quote(order_id)}")
        if answer.status == 200:
            return _outcome(answer)
        if answer.status == 404:
            return PaymentOutcome(PaymentStatus.ABSENT)
        raise self._service.refused(answer)

    async def _give_back(self, order_id: str, reason: str) -> PaymentOutcome:
        answer = await self._service.call("POST", "/refund", {"payment_key": order_id, "reason": reason})
        if answer.status == 200:
            return _outcome(answer)
        raise self._service.refused(answer)

    async def _payment_pending(self, error: BaseException) -> PaymentOutcome:
        self._count_fallback("payment is queued", error)
        return PaymentOutcome(PaymentStatus.PENDING, reason=type(error).__name__)

    async def _status_unknown(self, error: BaseException) -> PaymentOutcome:
        self._count_fallback("payment status is unknown", error)
        return PaymentOutcome(PaymentStatus.UNKNOWN, reason=type(error).__name__)

    def _count_fallback(self, event: str, error: BaseException) -> None:
        self._failure.inc()
        self._fallback.inc()
        remark(event, error=type(error).__name__, reason=str(error))


def charge_request(order: Order) -> dict[str, Any]:
    """The body of `POST /process`, and of the message that asks for the same later."""
    return {
        "payment_key": order.id,
        "amount": order.total_amount,
        "currency": order.currency,
        "customer": order.customer,
        "sealed_card": order.sealed_card,
    }


def _outcome(answer: Answer) -> PaymentOutcome:
    status = PaymentStatus(answer.body["status"])
    return PaymentOutcome(status, answer.body.get("transaction_id"), str(answer.body.get("decline_code") or ""))


def _counter(metrics: CollectorRegistry, outcome: str, meaning: str) -> Counter:
    return Counter(f"payment_service_calls_{outcome}_total", meaning, registry=metrics)
