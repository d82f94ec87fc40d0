"""A time limit that also holds what the NATS client lets slip: cancellation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """`asyncio.timeout` for a block that calls the NATS client. Raises TimeoutError.

    The client waits with `asyncio.wait_for`, which up to Python 3.11 loses a cancellation that arrives together with
    the result (github.com/python/cpython/issues/86296), and it catches some itself. A background task would then live
    on after its owner has cancelled it and waits for its end.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - always so inside a coroutine
    before = task.cancelling()
    async with asyncio.timeout(seconds) as limit:
        try:
            yield limit
        finally:
            if task.cancelling() > before:
                raise asyncio.CancelledError
