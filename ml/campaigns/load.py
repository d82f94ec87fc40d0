"""Customers of a campaign: a Poisson process whose rate wanders as a day does, and can be raised by an episode."""

import asyncio
import math
import time
from collections.abc import Callable
from random import Random

from infra.load.customer import Customer
from infra.load.orders import OrderMaker

_MOST_IN_FLIGHT = 400


class Traffic:
    """Orders a second, as time goes by: a base, a slow wave, noise that forgets, and a factor that episodes turn."""

    def __init__(self, base: float, random: Random, day_seconds: float) -> None:
        self._base, self._random, self._day = base, random, day_seconds
        self._phase = random.uniform(0, 2 * math.pi)
        self._noise = 0.0
        self.factor = 1.0

    def rate(self, moment: float) -> float:
        """The rate now; `moment` in seconds from the start."""
        self._noise = 0.97 * self._noise + self._random.gauss(0, 0.04)
        wave = 1 + 0.35 * math.sin(2 * math.pi * moment / self._day + self._phase)
        return max(0.5, self._base * wave * math.exp(self._noise) * self.factor)


async def drive(
    traffic: Traffic,
    customer: Customer,
    maker: OrderMaker,
    random: Random,
    *,
    run: str,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send orders until cancelled. An order that would be one too many in flight is not sent."""
    began = clock()
    number, due = 0, 0.0
    async with asyncio.TaskGroup() as group:
        under_way: set[asyncio.Task[None]] = set()

        async def order(key: str) -> None:
            await customer.place(key, maker.make())

        while True:
            due += random.expovariate(traffic.rate(clock() - began))
            await asyncio.sleep(max(0.0, due - (clock() - began)))
            # A sender that was held up begins anew instead of catching up in one burst.
            due = max(due, clock() - began - 1.0)
            if len(under_way) < _MOST_IN_FLIGHT:
                number += 1
                task = group.create_task(order(f"{run}-{number}"))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
