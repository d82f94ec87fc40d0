"""Brokers and background tasks that end with their test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest

from shared.messaging import Broker, Worker

Connect = Callable[..., Awaitable[Broker]]
Run = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """`await connect(url)`: a started broker; it waits for the connection unless told `wait=False`."""
    brokers: list[Broker] = []

    async def make(url: str, *, wait: bool = True, **options: Any) -> Broker:
        broker = Broker(url, **options)
        brokers.append(broker)
        await broker.start()
        if wait:
            async with asyncio.timeout(30):
                await broker.wait_connected()
        return broker

    yield make
    for broker in brokers:
        await broker.stop()


@pytest.fixture
async def run(connect: Connect) -> AsyncIterator[Run]:
    """`run(worker.run())` in the background; cancelled before the brokers stop."""
    tasks: list[asyncio.Task[None]] = []

    def begin(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(coroutine))
        return tasks[-1]

    yield begin
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    failed = [result for result in results if isinstance(result, Exception)]
    assert not failed


def payments(broker: Broker, handler: Callable[..., Awaitable[None]], **options: Any) -> Worker:
    """A worker for `payments.requested`."""
    return Worker(
        broker, stream="PAYMENTS", durable="payment", subject="payments.requested", handler=handler, **options
    )


async def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Return when `condition()` holds (it may be a coroutine); fail after `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            held = condition()
            if asyncio.iscoroutine(held):
                held = await held
            if held:
                return
            await asyncio.sleep(0.02)
