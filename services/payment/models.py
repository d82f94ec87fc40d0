"""What callers send and what they get, in both versions of the API."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.payment.records import Payment, State
from services.payment.risk import risk_score

ID_PATTERN = r"^[a-z0-9_-]{1,64}$"
PRINTABLE = (
    r"^[^\x00-\x1f\x7f-\xa0\xad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ufff9-\ufffb]+$"
)
"""No control or formatting characters, and no space but the plain one. Spelt out, so that it means the same to every
reader of the API's description: dialects of regular expressions differ over classes such as `\\p{Cc}`."""

Currency = Literal["EUR", "USD", "GBP", "JPY"]
Version = Literal["v1", "v2"]


PaymentKey = Annotated[str, Field(pattern=ID_PATTERN)]
Customer = Annotated[str, Field(min_length=1, max_length=64, pattern=PRINTABLE)]
Reason = Annotated[str, Field(min_length=1, max_length=200, pattern=PRINTABLE)]
SealedCard = Annotated[str, Field(max_length=1024, pattern=r"^[A-Za-z0-9+/]+={0,2}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ProcessRequest(_Strict):
    """A charge: also the body of the message `payments.requested`."""

    payment_key: PaymentKey
    amount: int = Field(ge=1, le=10**9, description="In the currency's minor unit")
    currency: Currency
    customer: Customer
    sealed_card: SealedCard = Field(description='`{"number"}` as JSON in a NaCl sealed box, base64')


class RefundRequest(_Strict):
    """Give back all that was charged for a key, and refuse what may still be charged."""

    payment_key: PaymentKey
    reason: Reason


class ProcessAnswer(BaseModel):
    """A captured payment, as version 1 shows it."""

    transaction_id: str
    payment_key: str
    status: Literal["CAPTURED"]
    amount: int
    currency: str
    card_last4: str
    processed_by: Version


class ProcessAnswerV2(ProcessAnswer):
    """A captured payment, as version 2 shows it."""

    risk_score: int = Field(ge=0, le=100)
    network_reference: str


class StatusAnswer(BaseModel):
    """Where a payment stands, as version 1 shows it. Amount and currency are null for a key never charged."""

    transaction_id: str
    payment_key: str
    status: State
    amount: int | None
    currency: str | None
    refunded_amount: int
    processed_by: Version
    updated_at: datetime


class StatusAnswerV2(StatusAnswer):
    """Where a payment stands, as version 2 shows it."""

    risk_score: int | None = Field(ge=0, le=100)
    network_reference: str | None


class RefundAnswer(BaseModel):
    """How a refund ended: REFUNDED when money went back, else VOIDED."""

    transaction_id: str
    payment_key: str
    status: Literal["REFUNDED", "VOIDED"]
    refunded_amount: int


def process_answer(payment: Payment, version: Version) -> ProcessAnswer | ProcessAnswerV2:
    """Show a captured payment. `processed_by` is the version that charged it, whichever one shows it."""
    values = {
        "transaction_id": payment.transaction_id,
        "payment_key": payment.payment_key,
        "status": payment.state,
        "amount": payment.amount,
        "currency": payment.currency,
        "card_last4": payment.card_last4,
        "processed_by": payment.processed_by,
    }
    if version == "v1":
        return ProcessAnswer.model_validate(values)
    return ProcessAnswerV2.model_validate(values | _of_version_2(payment))


def status_answer(payment: Payment, version: Version) -> StatusAnswer | StatusAnswerV2:
    """Show any payment."""
    values = {
        "transaction_id": payment.transaction_id,
        "payment_key": payment.payment_key,
        "status": payment.state,
        "amount": payment.amount,
        "currency": payment.currency,
        "refunded_amount": payment.refunded_amount,
        "processed_by": payment.processed_by,
        "updated_at": datetime.fromtimestamp(payment.updated_at / 1000, UTC),
    }
    if version == "v1":
        return StatusAnswer.model_validate(values)
    return StatusAnswerV2.model_validate(values | _of_version_2(payment))


def refund_answer(payment: Payment) -> RefundAnswer:
    """Show how a refund ended."""
    return RefundAnswer(
        transaction_id=payment.transaction_id,
        payment_key=payment.payment_key,
        status="REFUNDED" if payment.state is State.REFUNDED else "VOIDED",
        refunded_amount=payment.refunded_amount,
    )


def _of_version_2(payment: Payment) -> dict[str, int | str | None]:
    score = None
    if payment.customer is not None and payment.amount is not None and payment.currency is not None:
        score = risk_score(payment.customer, payment.amount, payment.currency)
    return {"risk_score": score, "network_reference": payment.network_reference}
