"""Card numbers: how they are checked and carried, and what the simulated network does with those set aside for tests.

A number lives in memory only, for the time of one call. What is stored, logged and answered is its last four digits.
"""

from dataclasses import dataclass, field

NETWORK_ERROR = "network_error"
"""Outcome of a test card for which the network never answers."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card as its owner typed it in. Printing it shows the last four digits."""

    number: str = field(repr=False)

    @property
    def last4(self) -> str:
        """The only part of the number that may be kept."""
        return self.number[-4:]

    def __repr__(self) -> str:
        return f"Card(*{self.last4})"


@dataclass(frozen=True, slots=True)
class TestCard:
    """A number with a fixed outcome."""

    __test__ = False  # its name begins like a test's

    number: str
    outcome: str
    decline_code: str | None = None


TEST_CARDS = (
    TestCard("4242424242424242", "captured"),
    TestCard("5555555555554444", "captured"),
    TestCard("4000000000000002", "declined", "generic_decline"),
    TestCard("4000000000009995", "declined", "insufficient_funds"),
    TestCard("4000000000009987", "declined", "lost_card"),
    TestCard("4000000000000069", "declined", "expired_card"),
    TestCard("4242424242424241", "declined", "invalid_number"),
    TestCard("4000000000000119", NETWORK_ERROR, "processing_error"),
)
"""Any other number that satisfies Luhn's check is good; one that does not is declined with `invalid_number`."""

_BY_NUMBER = {card.number: card for card in TEST_CARDS}


def luhn_valid(number: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, character in enumerate(reversed(number)):
        digit = int(character)
        if place % 2:
            digit = digit * 2 - 9 if digit > 4 else digit * 2
        total += digit
    return total % 10 == 0


def decline_code(card: Card) -> str | None:
    """Why the card is declined, or None when it is good."""
    known = _BY_NUMBER.get(card.number)
    if known is not None:
        return known.decline_code if known.outcome == "declined" else None
    return None if luhn_valid(card.number) else "invalid_number"


def breaks_the_network(card: Card) -> bool:
    """Whether calls with this card are never answered."""
    known = _BY_NUMBER.get(card.number)
    return known is not None and known.outcome == NETWORK_ERROR
