"""Keeps secrets and card numbers out of logs, wherever they hide: in fields, in nested values, in texts of errors."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MASK = "[removed]"

_SECRET_NAMES = frozenset(
    (
        *("authorization", "cookie", "set-cookie", "token", "password", "passphrase", "secret", "credentials"),
        *("key", "private_key", "number", "card", "card_number", "sealed_card", "pan", "cvc", "cvv", "database_url"),
    )
)
_SECRET_ENDINGS = ("_token", "_password", "_secret", "private_key", "authorization")
# the keys of the edges between services; a payment_key or an idempotency_key is no secret
_EDGE_KEY = re.compile(r"_to_\w+_key$")

# a card number as people write it: 13 to 19 digits, alone or in groups
_CARD = re.compile(r"(?<!\d)\d(?:[ .\u00a0-]{0,2}\d){12,18}(?!\d)")
_CREDENTIAL = re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}|(?<=://)([^\s/:@]*:)[^\s/@]+(?=@)")
_SHORTEST = 13
_DEEPEST = 8
_CARD_INTEGERS = range(10**13, 10**19)  # shorter ones are times in milliseconds


def redacted(event: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a log record without what must not be written down."""
    return {name: MASK if _is_secret(name) else _clean(value, 0) for name, value in event.items()}


def _clean(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return value if len(value) < _SHORTEST else _clean_text(value)
    if kind is int:
        return MASK if value in _CARD_INTEGERS and _is_card(str(value)) else value
    if kind is float or kind is bool or value is None:
        return value
    if depth >= _DEEPEST:
        return "[too deep]"
    if isinstance(value, Mapping):
        return {
            _clean_text(_text(name)): MASK if _is_secret(name) else _clean(inner, depth + 1)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(inner, depth + 1) for inner in value]
    return _clean_text(_text(value))


def _text(value: object) -> str:
    try:
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    except Exception as error:  # noqa: BLE001 - a value that cannot be written must not stop what is being logged
        return f"[{type(value).__name__}: {type(error).__name__} in its text]"


def _clean_text(text: str) -> str:
    if "earer" in text or "EARER" in text or "://" in text:
        text = _CREDENTIAL.sub(lambda found: f"{found[1] or found[2]}{MASK}", text)
    return _CARD.sub(lambda found: MASK if _is_card(found[0]) else found[0], text)


def _is_card(text: str) -> bool:
    """Luhn's check: nine in ten numbers that are no card's fail it, so ids and times stay readable."""
    digits = [int(character) for character in reversed(text) if character.isdecimal()]
    return sum(digits[0::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2]) in range(0, 200, 10)


@lru_cache(maxsize=1024)
def _is_secret(name: object) -> bool:
    if not isinstance(name, str):
        return False
    plain = name.lower().replace("-", "_")
    return (
        plain in _SECRET_NAMES
        or name.lower() in _SECRET_NAMES
        or plain.endswith(_SECRET_ENDINGS)
        or _EDGE_KEY.search(plain) is not None
    )
