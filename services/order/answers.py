"""What a customer is told of an order, stored with it so that every repetition of the request is told the same."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import Response

from services.order.models import OrderView
from services.order.orders import Order
from services.order.states import State
from shared.chassis.problems import Problem

Stored = Mapping[str, Any]
"""`status`, and either `state` (the order is the body) or `problem` (slug, title, detail, further members)."""

CONFIRMED: Stored = {"status": 201, "state": State.CONFIRMED}


def accepted(state: State) -> Stored:
    """202: the order is taken and goes on by itself."""
    return {"status": 202, "state": state}


PENDING = accepted(State.PENDING_PAYMENT)


def out_of_stock(shortages: Sequence[Mapping[str, Any]]) -> Stored:
    """409: nothing is held and nothing is charged."""
    items = [{name: line[name] for name in ("sku", "quantity", "available")} for line in shortages]
    return _problem(409, "insufficient-stock", "Not enough stock", "nothing was charged", items=items)


def declined(decline_code: str) -> Stored:
    """402: the card network said no."""
    return _problem(402, "card-declined", "The card was declined", "the stock is free again", decline_code=decline_code)


def inventory_unavailable() -> Stored:
    """503: nothing charged, nothing held for ever; the same key may be used again."""
    return _problem(503, "inventory-unavailable", "Inventory is unavailable", "nothing was charged; try again")


def payment_unavailable() -> Stored:
    """503, only where the fallback is switched off: the order is given up, and what was charged goes back."""
    return _problem(503, "payment-unavailable", "Payment is unavailable", "the order is given up; try again")


def cancelled(detail: str) -> Stored:
    """409: the order was given up before it could be confirmed; money and stock go back."""
    return _problem(409, "order-cancelled", "The order was cancelled", detail)


def problem_of(stored: Stored) -> Problem:
    """The stored problem, to be raised."""
    details = dict(stored["problem"])
    headers = {"Retry-After": "1"} if stored["status"] == 503 else None
    return Problem(
        stored["status"], details.pop("slug"), details.pop("title"), details.pop("detail"), headers=headers, **details
    )


def render(order: Order, stored: Stored, *, replayed: bool) -> Response:
    """The answer to the request that placed the order; raises it when it is a problem."""
    if "problem" in stored:
        raise problem_of(stored)
    shown = view(order, state=State(stored["state"]))
    if shown.state is not State.CONFIRMED:
        shown.transaction_id = None
    headers = {"Location": f"/orders/{order.id}"}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(shown.model_dump_json(), stored["status"], headers, "application/json")


def view(order: Order, *, state: State | None = None) -> OrderView:
    """The order as the API shows it."""
    return OrderView(
        id=order.id,
        state=state or order.state,
        customer=order.customer,
        currency=order.currency,
        total_amount=order.total_amount,
        items=list(order.items),
        card_last4=order.card_last4,
        transaction_id=order.transaction_id,
        created_at=instant(order.created_at),
    )


def instant(milliseconds: int) -> datetime:
    """A stored time, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _problem(status: int, slug: str, title: str, detail: str, **members: Any) -> Stored:
    return {"status": status, "problem": {"slug": slug, "title": title, "detail": detail, **members}}
