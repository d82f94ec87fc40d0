"""What customers see: read from the experiment's own load."""

import time

from chaos.session import current
from chaos.traffic import Figures


def may_go_on() -> bool:
    """The abort condition does not hold."""
    return current().may_go_on()


def are_served(success_at_least: float = 0.99, p99_at_most: float = 1.5, window_seconds: float = 4.0) -> bool:
    """In the last seconds so many orders were served, so quickly. No orders at all are no proof."""
    return _served(current().figures(window_seconds), success_at_least, p99_at_most)


def are_served_within(
    seconds: float, success_at_least: float = 0.99, p99_at_most: float = 1.5, window_seconds: float = 3.0
) -> bool:
    """As `are_served`, with some patience."""
    until = time.monotonic() + seconds
    while not are_served(success_at_least, p99_at_most, window_seconds):
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


def _served(seen: Figures, success_at_least: float, p99_at_most: float) -> bool:
    if seen.success is None or seen.p99 is None:
        return False
    return seen.success >= success_at_least and seen.p99 <= p99_at_most
