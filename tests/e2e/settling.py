"""Waiting for orders to come to an end, by asking the platform."""

import asyncio
import time

import aiohttp

from tests.e2e.customers import Customers

UNFINISHED = ("RESERVING", "CHARGING", "PENDING_PAYMENT", "CONFIRMING", "CANCELLING")


async def until_settled(customers: Customers, *, seconds: float) -> float:
    """Wait until no order is unfinished; how long that took. Fails after `seconds`, naming what is left."""
    started = time.monotonic()
    left: dict[str, int] = {}
    while time.monotonic() - started < seconds:
        try:
            left = {state: await customers.count(state) for state in UNFINISHED}
        except (aiohttp.ClientError, TimeoutError):
            left = {"order service": 1}
        if not any(left.values()):
            return time.monotonic() - started
        await asyncio.sleep(0.25)
    raise AssertionError(f"unfinished after {seconds:g} s: { {state: n for state, n in left.items() if n} }")
