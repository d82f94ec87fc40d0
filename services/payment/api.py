"""The routes of the payment service: charging and giving back for the order service, and where a payment stands."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel

from services.payment import models
from services.payment.card_network import NetworkUnavailable
from services.payment.cards import TEST_CARDS
from services.payment.models import (
    ID_PATTERN,
    ProcessAnswer,
    ProcessAnswerV2,
    ProcessRequest,
    RefundAnswer,
    RefundRequest,
    StatusAnswer,
    StatusAnswerV2,
    Version,
)
from services.payment.payments import PaymentConflict, Payments
from services.payment.records import Charge, Payment, State
from services.payment.sealing import CardOpener, UnreadableCard
from shared.chassis.auth import called_by
from shared.chassis.links import Link, links
from shared.chassis.problems import Problem, invalid, responses

_RETRY_AFTER = {"Retry-After": "1"}
_TOKEN = (401, "A valid token of the order service is missing")
_NETWORK = (503, "`card-network-unavailable`: nothing is known, try the same key again; or too much load")

_Id = Annotated[str, Path(pattern=ID_PATTERN)]

_KEY = "$response.body#/payment_key"
_OF_A_PAYMENT = links(
    Link("status_by_transaction", {"transaction_id": "$response.body#/transaction_id"}),
    Link("status_by_key", {"payment_key": _KEY}),
    Link("refund", body={"payment_key": _KEY}),
)


def payment_router(payments: Payments, opener: CardOpener, version: Version) -> APIRouter:
    """The routes that the order service calls."""
    router = APIRouter(tags=["payments"], dependencies=[Depends(called_by("order"))], responses=responses(_TOKEN))

    @router.post(
        "/process",
        operation_id="process",
        responses={
            200: _OF_A_PAYMENT,
            **responses(
                (402, "`card-declined`, final for this key"),
                (409, "`payment-voided`: refunded or cancelled before; `payment-conflict`: other amount or currency"),
                _NETWORK,
            ),
        },
    )
    async def process(request: ProcessRequest) -> ProcessAnswerV2 | ProcessAnswer:
        """Charge a card once for this key; repeated calls get the same answer. Version 2 adds two fields."""
        try:
            payment = await payments.process(_charge(request, opener))
        except PaymentConflict as error:
            raise Problem(409, "payment-conflict", "Payment conflict", str(error)) from None
        except NetworkUnavailable:
            raise _network_unavailable() from None
        _refuse_uncaptured(payment)
        return models.process_answer(payment, version)

    @router.post("/refund", operation_id="refund", responses={200: _OF_A_PAYMENT, **responses(_NETWORK)})
    async def refund(request: RefundRequest) -> RefundAnswer:
        """Give back all that was charged for this key; for a key never charged, refuse a charge that comes late."""
        try:
            return models.refund_answer(await payments.refund(request.payment_key, request.reason))
        except NetworkUnavailable:
            raise _network_unavailable() from None

    @router.get("/status/{transaction_id}", operation_id="status_by_transaction", responses={200: _OF_A_PAYMENT})
    async def status(transaction_id: _Id) -> StatusAnswerV2 | StatusAnswer:
        """Where a payment stands, by its transaction id."""
        return _shown(await payments.by_transaction(transaction_id), version)

    @router.get("/payments/{payment_key}", operation_id="status_by_key", responses={200: _OF_A_PAYMENT})
    async def by_key(payment_key: _Id) -> StatusAnswerV2 | StatusAnswer:
        """Where a payment stands, by its key."""
        return _shown(await payments.by_key(payment_key), version)

    return router


class TestCardAnswer(BaseModel):
    """A card number with a fixed outcome."""

    __test__ = False

    number: str
    outcome: str
    decline_code: str | None


def test_cards_router() -> APIRouter:
    """What the simulated card network does with the numbers set aside for tests; open to everybody."""
    router = APIRouter(tags=["test cards"])

    @router.get("/test-cards")
    async def test_cards() -> list[TestCardAnswer]:
        """The test numbers. Any other that satisfies Luhn's check is good, one that does not is declined."""
        return [
            TestCardAnswer(number=card.number, outcome=card.outcome, decline_code=card.decline_code)
            for card in TEST_CARDS
        ]

    return router


def _charge(request: ProcessRequest, opener: CardOpener) -> Charge:
    try:
        card = opener.open(request.sealed_card)
    except UnreadableCard as error:
        raise invalid("sealed_card", str(error)) from None
    return Charge(request.payment_key, request.amount, request.currency, request.customer, card)


def _refuse_uncaptured(payment: Payment) -> None:
    if payment.state is State.CAPTURED:
        return
    if payment.state is State.DECLINED:
        raise Problem(
            402,
            "card-declined",
            "Card declined",
            "the card was declined; this is final for this key",
            transaction_id=payment.transaction_id,
            payment_key=payment.payment_key,
            decline_code=payment.decline_code,
        )
    raise Problem(
        409,
        "payment-voided",
        "Payment voided",
        "the payment was refunded or cancelled before",
        transaction_id=payment.transaction_id,
        payment_key=payment.payment_key,
    )


def _shown(payment: Payment | None, version: Version) -> StatusAnswer | StatusAnswerV2:
    if payment is None:
        raise Problem(404, "payment-not-found", "No such payment")
    return models.status_answer(payment, version)


def _network_unavailable() -> Problem:
    return Problem(
        503,
        "card-network-unavailable",
        "Card network unavailable",
        "it is not known whether the call took effect; the same call again is safe",
        headers=_RETRY_AFTER,
    )
