"""Waiting, in sight of the safeguards."""

import time


def hold(seconds: float) -> None:
    """Let the fault act. A safeguard, SIGINT or SIGTERM ends the wait."""
    time.sleep(seconds)
