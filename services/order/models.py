"""What the order API takes and gives."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator

from services.order.states import State

MAX_ITEMS = 50
MAX_QUANTITY = 1_000
ORDER_ID = r"^ord_[0-9a-z]{26}$"

_CARD_NUMBER = re.compile(r"[0-9]{12,19}")

Sku = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Customer = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 @._+'-]{0,63}$")]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Item(_Input):
    """So many of a product."""

    sku: Sku
    quantity: int = Field(ge=1, le=MAX_QUANTITY)


class Card(_Input):
    """A card. Its number goes to the payment service sealed; here only the last four digits are kept."""

    type: Literal["card"]
    number: SecretStr = Field(description="12 to 19 digits", examples=["4242424242424242"])

    @field_validator("number")
    @classmethod
    def _digits(cls, number: SecretStr) -> SecretStr:
        if not _CARD_NUMBER.fullmatch(number.get_secret_value()):
            raise ValueError("must be 12 to 19 digits")
        return number


class NewOrder(_Input):
    """An order to place. Prices come from the catalogue."""

    customer: Customer
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = Field(examples=["EUR"])
    items: list[Item] = Field(min_length=1, max_length=MAX_ITEMS)
    payment_method: Card

    @field_validator("items")
    @classmethod
    def _each_sku_once(cls, items: list[Item]) -> list[Item]:
        if len({item.sku for item in items}) != len(items):
            raise ValueError("each sku may stand only once")
        return items


class OrderView(BaseModel):
    """An order. Amounts are in the currency's minor unit."""

    id: str
    state: State
    customer: str
    currency: str
    total_amount: int
    items: list[Mapping[str, Any]]
    card_last4: str
    transaction_id: str | None
    created_at: datetime


class StepView(BaseModel):
    """One step of an order's history."""

    seq: int
    state: State
    at: datetime
    detail: str


class OrderWithHistory(OrderView):
    """An order and how it came to where it is."""

    updated_at: datetime
    history: list[StepView]


class OrderPage(BaseModel):
    """Orders, newest first; `next` goes into `before` for the following page."""

    items: list[OrderView]
    next: str | None
