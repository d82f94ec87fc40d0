"""Identifiers: sortable by time, unguessable, safe in URLs, logs and metric labels."""

import secrets
import threading
import time
from collections.abc import Callable

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
_TIME_BITS, _RANDOM_BITS, _STEP_BITS = 48, 80, 64


class Sequence:
    """Numbers of 128 bits, each greater than the one before: 48 bits of milliseconds, then random bits."""

    def __init__(
        self, *, time_ns: Callable[[], int] = time.time_ns, randbits: Callable[[int], int] = secrets.randbits
    ) -> None:
        self._time_ns, self._randbits = time_ns, randbits
        self._last = 0
        self._lock = threading.Lock()

    def next(self) -> int:
        """The next number. Within a millisecond, or when the clock steps back, it is the last plus a random step."""
        with self._lock:
            number = (self._time_ns() // 1_000_000) << _RANDOM_BITS | self._randbits(_RANDOM_BITS)
            if number >> _RANDOM_BITS <= self._last >> _RANDOM_BITS:
                number = self._last + 1 + self._randbits(_STEP_BITS)
            self._last = number
            return number


_SEQUENCE = Sequence()


def new_id(prefix: str) -> str:
    """`prefix_` and 26 characters: 48 bits of milliseconds, then 80 random bits (the layout of a ULID).

    Ids that one process makes sort in the order of their making, so an index on them grows at its end.
    """
    return f"{prefix}_{encoded(_SEQUENCE.next())}"


def encoded(number: int) -> str:
    """The number in 26 digits of base 32, which sort as the numbers do."""
    digits = []
    for _ in range((_TIME_BITS + _RANDOM_BITS + 4) // 5):
        digits.append(_ALPHABET[number & 31])
        number >>= 5
    return "".join(reversed(digits))
