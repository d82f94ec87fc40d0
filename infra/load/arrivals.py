"""When orders arrive: a Poisson process, which does not wait for answers (an open loop)."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from infra.load.customer import Customer
from infra.load.orders import OrderMaker
from infra.load.tally import Tally


def times(rate: float, seconds: float, random: Random) -> list[float]:
    """Moments of arrival, in seconds from the start. Their number varies around rate times seconds, as in life."""
    moments: list[float] = []
    moment = random.expovariate(rate)
    while moment < seconds:
        moments.append(moment)
        moment += random.expovariate(rate)
    return moments


async def send(
    moments: list[float],
    customer: Customer,
    maker: OrderMaker,
    tally: Tally,
    *,
    run: str,
    in_flight: int,
    stop: asyncio.Event,
    clock: Callable[[], float],
) -> None:
    """Place one order at each moment until all are answered, or soon after `stop` is set.

    An order that would be one too many in flight is not sent and counted as such: an unbounded heap of waiting orders
    would measure the sender. Latency runs from the moment of arrival, so a sender that lags does not flatter.
    """
    began = clock()
    under_way: set[asyncio.Task[None]] = set()

    async def order(key: str, body: dict[str, Any], moment: float) -> None:
        answer = await customer.place(key, body)
        tally.answered(key, answer, clock() - began - moment)

    for number, moment in enumerate(moments):
        await _pause(moment - (clock() - began), stop)
        if stop.is_set():
            break
        # Made even when it is not sent: what comes later stays the same.
        body = maker.make()
        if len(under_way) >= in_flight:
            tally.not_sent()
            continue
        key = f"{run}-{number}"
        tally.sent(key)
        task = asyncio.create_task(order(key, body, moment))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    await _finish(under_way, stop)


async def _pause(seconds: float, stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await stop.wait()
    except TimeoutError:
        pass  # the moment has come


async def _finish(under_way: set[asyncio.Task[None]], stop: asyncio.Event) -> None:
    stopped = asyncio.create_task(stop.wait())
    try:
        while under_way and not stop.is_set():
            await asyncio.wait({*under_way, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if under_way:
            await asyncio.wait(under_way, timeout=5)
    finally:
        leftover = [*under_way, stopped]
        for task in leftover:
            task.cancel()
        results = await asyncio.gather(*leftover, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
