"""A reservation, the states it goes through, and what can go wrong with it.

    reserve -> HELD -- commit --> COMMITTED -- release --> RETURNED
               HELD -- release -> RELEASED
               HELD -- its time -> EXPIRED -- reserve -> HELD again
                                   EXPIRED -- release -> RELEASED
    release of an unknown id -> RELEASED: a tombstone, so that a late reserve is refused
"""

from dataclasses import dataclass
from enum import StrEnum

from services.inventory.tables import Items


class State(StrEnum):
    """Where a reservation is in its life; see the picture above."""

    HELD = "HELD"
    COMMITTED = "COMMITTED"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"
    RETURNED = "RETURNED"


class Outcome(StrEnum):
    """What a call on a reservation came to, as counted in `reservations_total`."""

    HELD = "held"
    RETAKEN = "retaken"
    REPEATED = "repeated"
    COMMITTED = "committed"
    RELEASED = "released"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reservation as stored; `expires_at` in epoch milliseconds, None in a tombstone."""

    id: str
    state: State
    expires_at: int | None
    items: Items


@dataclass(frozen=True, slots=True)
class Shortage:
    """How many of a sku were asked for, and how many are free."""

    sku: str
    quantity: int
    available: int


class StockError(Exception):
    """A reservation cannot be had, or cannot be moved on:

    StockError
      UnknownSku            no such product
      InsufficientStock     fewer free than asked for
      ReservationConflict   the id holds other items
      ReservationReleased   given back before, for ever
      HoldExpired           its time is over: reserve again
      UnknownReservation    never seen
    """


class UnknownSku(StockError):
    """`skus` are not in the catalogue."""

    def __init__(self, skus: list[str]) -> None:
        super().__init__(", ".join(skus))
        self.skus = skus


class InsufficientStock(StockError):
    """`items` has every item of the request, those with enough stock too."""

    def __init__(self, items: list[Shortage]) -> None:
        super().__init__(", ".join(item.sku for item in items if item.available < item.quantity))
        self.items = items


class ReservationConflict(StockError):
    """The same reservation id came with other items."""


class ReservationReleased(StockError):
    """The reservation was released or returned; it can neither be taken nor committed."""


class HoldExpired(StockError):
    """The hold's stock has been given back; a new reserve may take it again."""


class UnknownReservation(StockError):
    """No reservation has this id."""
