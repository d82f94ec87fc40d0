"""The risk score that version 2 of the API adds: a stand-in for a model, the same for the same request everywhere."""

import hashlib
import math

_AMOUNT_SHARE, _CUSTOMER_SHARE = 60, 40
_LARGEST = 10**9
_WITHOUT_MINOR_UNIT = {"JPY"}


def risk_score(customer: str, amount: int, currency: str) -> int:
    """0 (safe) to 100: grows with the order of magnitude of the amount, and differs from customer to customer."""
    minor = amount * 100 if currency in _WITHOUT_MINOR_UNIT else amount
    magnitude = math.log10(max(1, min(minor, _LARGEST))) / math.log10(_LARGEST)
    digest = hashlib.sha256(customer.encode("utf-8", "replace")).digest()
    return round(_AMOUNT_SHARE * magnitude + _CUSTOMER_SHARE * digest[0] / 255)
