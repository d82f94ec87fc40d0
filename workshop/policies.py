"""Copies of the order service's policies in which something is broken."""

from infra.local import policy
from workshop.platform import Trouble

CHARGE = """\
  payment.process:
    base_config: default
    budget: payment
    breaker: payment
    deadline: 2500ms
    timeout: {duration: 800ms}
"""
"""The charge as it stands in services/order/resilience.yaml."""

BREAKER_WINDOW = """\
      sliding_window_size: 40
      minimum_number_of_calls: 10
"""

PAYMENT_BUDGET = "  payment: {ratio: 0.2, floor: 3, max_tokens: 10, token_ratio: 0.1}\n"


def trees() -> str:
    """The policies of the tree."""
    return policy.TREES.read_text(encoding="utf-8")


def changed(*changes: tuple[str, str]) -> str:
    """The tree's policies with some of their text replaced.

    Raises:
        Trouble: the tree's file has been edited where a lab wants to change it.
    """
    text = trees()
    for before, after in changes:
        if text.count(before) != 1:
            raise Trouble(f"{policy.TREES} is not as it was: git checkout services/order/resilience.yaml")
        text = text.replace(before, after)
    return text
