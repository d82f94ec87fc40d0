"""Identifiers: sortable by time, unguessable, safe in URLs, logs and metric labels."""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
_TIME_BITS, _RANDOM_BITS = 48, 80


def new_id(prefix: str) -> str:
    """`prefix_` and 26 characters: 48 bits of milliseconds, then 80 random bits (the layout of a ULID).

    Ids made one after the other sort in that order, so an index on them grows at its end.
    """
    number = (time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    digits = []
    for _ in range((_TIME_BITS + _RANDOM_BITS + 4) // 5):
        digits.append(_ALPHABET[number & 31])
        number >>= 5
    return f"{prefix}_{''.join(reversed(digits))}"
