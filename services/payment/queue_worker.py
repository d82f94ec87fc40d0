"""Settles the payments that the order service has queued while this service was away.

A message may come twice, or while its payment is charged over HTTP: the payment key makes all of them one charge, and
the id of the result's message lets the broker drop what was published before.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import structlog
from pydantic import ValidationError

from services.payment.models import ProcessRequest
from services.payment.payments import PaymentConflict, Payments
from services.payment.records import Charge, Payment, State
from services.payment.sealing import CardOpener, UnreadableCard
from shared.messaging import Message, Reject

STREAM, DURABLE = "PAYMENTS", "payment-worker"
REQUESTED, SETTLED = "payments.requested", "payments.settled"

log = structlog.get_logger()


class Publisher(Protocol):
    """Where results go."""

    async def publish(
        self, subject: str, body: Mapping[str, Any], *, message_id: str, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Return once the broker has stored the message; raise when it has not."""
        ...


class QueueWorker:
    """Handles one message of `payments.requested` at a time; `handle` goes to the messaging library's worker."""

    def __init__(self, payments: Payments, opener: CardOpener, publisher: Publisher) -> None:
        self._payments, self._opener, self._publisher = payments, opener, publisher

    async def handle(self, message: Message) -> None:
        """Charge and publish how it ended; returning acknowledges the message.

        Raises `Reject` for what can never succeed, and lets any other failure through: the message comes again.
        """
        charge = self._read(message.body)
        try:
            payment = await self._payments.process(charge)
        except PaymentConflict as error:
            raise Reject(f"payment-conflict: {error}") from error
        status = _status(payment)
        body = {
            "payment_key": payment.payment_key,
            "transaction_id": payment.transaction_id,
            "status": status,
            "decline_code": payment.decline_code if status == "DECLINED" else None,
        }
        await self._publisher.publish(SETTLED, body, message_id=f"settled-{payment.payment_key}-{status}")
        log.info("queued payment settled", payment_key=payment.payment_key, status=status, delivery=message.deliveries)

    def _read(self, body: Mapping[str, Any]) -> Charge:
        try:
            request = ProcessRequest.model_validate(body)
            card = self._opener.open(request.sealed_card)
        except ValidationError as error:
            raise Reject(f"invalid-input: {_reasons(error)}") from None
        except UnreadableCard as error:
            raise Reject(f"invalid-input: sealed_card: {error}") from None
        return Charge(request.payment_key, request.amount, request.currency, request.customer, card)


def _status(payment: Payment) -> str:
    return payment.state.value if payment.state in (State.CAPTURED, State.DECLINED) else State.VOIDED.value


def _reasons(error: ValidationError) -> str:
    # neither the values nor unknown field names beyond a few: the reason travels in a header
    problems = error.errors(include_input=False, include_url=False, include_context=False)[:5]
    return "; ".join(f"{'.'.join(str(part) for part in problem['loc'])[:64]}: {problem['msg']}" for problem in problems)
