"""How the inventory's errors look over HTTP."""

from collections.abc import Mapping, Sequence

from services.inventory.reservation import (
    HoldExpired,
    InsufficientStock,
    KeyReused,
    ReservationConflict,
    ReservationReleased,
    StockError,
    UnknownCurrency,
    UnknownReservation,
    UnknownSku,
)
from shared.chassis.problems import FieldError, Problem, invalid

_PLAIN: Mapping[type[StockError], tuple[int, str, str, str]] = {
    ReservationConflict: (
        409,
        "reservation-conflict",
        "Reservation id in use",
        "This reservation id was used with other items.",
    ),
    ReservationReleased: (
        409,
        "reservation-released",
        "Reservation released",
        "The reservation was given back; its id cannot be used again.",
    ),
    HoldExpired: (
        409,
        "hold-expired",
        "Hold expired",
        "The stock went back when the hold's time was over; reserve it again under the same id.",
    ),
    UnknownReservation: (404, "unknown-reservation", "No such reservation", "No reservation has this id."),
}


def refusal(error: StockError, skus: Sequence[str] | None = None) -> Problem:
    """The problem to answer; `skus` are those of the request's items, None where the path named the product."""
    match error:
        case UnknownSku():
            return _unknown_sku(error, skus)
        case UnknownCurrency():
            return invalid("currency", "not all of these products are sold in it", slug="unknown-currency")
        case InsufficientStock():
            return _insufficient(error)
        case KeyReused():
            detail = "used before for another product or quantity"
            return invalid("Idempotency-Key", detail, slug="idempotency-key-reused")
        case _:
            return Problem(*_PLAIN[type(error)])


def _unknown_sku(error: UnknownSku, skus: Sequence[str] | None) -> Problem:
    if skus is None:
        return Problem(404, "unknown-sku", "No such product", f"The catalogue has no {error.skus[0]}.")
    errors = [
        FieldError(field=f"items[{position}].sku", detail="not in the catalogue")
        for position, sku in enumerate(skus)
        if sku in error.skus
    ]
    return Problem(422, "unknown-sku", "No such product", errors=errors)


def _insufficient(error: InsufficientStock) -> Problem:
    short = [item for item in error.items if item.available < item.quantity]
    detail = "; ".join(f"{item.sku}: {item.quantity} wanted, {item.available} free" for item in short[:5])
    items = [
        {
            "sku": item.sku,
            "quantity": item.quantity,
            "available": item.available,
            "sufficient": item.available >= item.quantity,
        }
        for item in error.items
    ]
    return Problem(409, "insufficient-stock", "Not enough stock", detail, items=items)
