"""The life of an order: its states, and the only ways from one to the next.

    RESERVING ──> CHARGING ──────────────> CONFIRMING ──> CONFIRMED
        │             │                     ^   │             │
        │             └─> PENDING_PAYMENT ──┘   │             │ (the customer cancels)
        │                        │              │             │
        └────────────────────────┴──────────────┴─> CANCELLING ──> CANCELLED, DECLINED, REJECTED, FAILED
        └─> REJECTED (not enough stock, and no earlier attempt can still hold any)

A state names what is being tried, and is written down before it is tried. CANCELLING gives the money and the stock
back; its `ending` says which final state follows.
"""

from enum import StrEnum


class State(StrEnum):
    """Where an order stands."""

    RESERVING = "RESERVING"
    CHARGING = "CHARGING"
    PENDING_PAYMENT = "PENDING_PAYMENT"
    CONFIRMING = "CONFIRMING"
    CANCELLING = "CANCELLING"
    CONFIRMED = "CONFIRMED"
    CANCELLED = "CANCELLED"
    DECLINED = "DECLINED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"


FINAL = frozenset((State.CONFIRMED, State.CANCELLED, State.DECLINED, State.REJECTED, State.FAILED))

NEXT: dict[State, frozenset[State]] = {
    State.RESERVING: frozenset((State.CHARGING, State.REJECTED, State.CANCELLING)),
    State.CHARGING: frozenset((State.CONFIRMING, State.PENDING_PAYMENT, State.CANCELLING)),
    State.PENDING_PAYMENT: frozenset((State.PENDING_PAYMENT, State.CONFIRMING, State.CANCELLING)),
    State.CONFIRMING: frozenset((State.CONFIRMED, State.CANCELLING)),
    State.CONFIRMED: frozenset((State.CANCELLING,)),
    State.CANCELLING: frozenset((State.CANCELLED, State.DECLINED, State.REJECTED, State.FAILED)),
    State.CANCELLED: frozenset(),
    State.DECLINED: frozenset(),
    State.REJECTED: frozenset(),
    State.FAILED: frozenset(),
}


class IllegalTransition(Exception):
    """A step that the machine does not have: a defect, never a consequence of input or failures."""
