"""A durable pull consumer: messages come only when asked for, as many as there is room for.

The client's own `fetch` is not used: asked for several messages, it keeps the first ones until its time is over, and a
cancelled one loses what it had received.
"""

import asyncio
from contextlib import suppress

import nats.errors
import orjson
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig

from shared.messaging.link import Link
from shared.messaging.patience import within

_EXPIRES_SECONDS = 15.0
_GRACE_SECONDS = 3.0
_CLOSE_SECONDS = 1.0
_MAX_UNSETTLED = 5_000
"""Unsettled messages of one consumer, over all replicas; those that wait for a redelivery count too."""

_REQUEST_OVER = frozenset({"404", "408"})


class PullLost(Exception):
    """The consumer, its stream or the connection has gone: begin again."""


class Pull:
    """One replica's end of a durable consumer on one connection."""

    def __init__(self, link: Link, stream: str, durable: str) -> None:
        self._link = link
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._stream, self._durable = stream, durable
        self._arrived: asyncio.Queue[Msg | None] = asyncio.Queue()  # bounded by what was asked for
        self._inbox = link.client.new_inbox()
        self._subscription: Subscription | None = None

    async def open(self, subject: str, ack_wait: float) -> None:
        """Create the consumer, or find it; then be ready to ask. Raises nats.errors.Error, or TimeoutError."""
        config = ConsumerConfig(
            name=self._durable,
            durable_name=self._durable,
            filter_subject=subject,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ack_wait,
            max_deliver=-1,  # the worker counts: what the server gave up would vanish without a word
            max_ack_pending=_MAX_UNSETTLED,
        )
        async with self._link.in_time():
            await self._link.jetstream.add_consumer(self._stream, config)
            self._subscription = await self._link.client.subscribe(self._inbox, cb=self._arrive)
        self._link.on_loss(self._lose)

    async def ask(self, messages: int) -> None:
        """Ask for up to `messages`; they come through `next`."""
        request = {"batch": messages, "expires": int(_EXPIRES_SECONDS * 1e9)}
        async with self._link.in_time():
            await self._link.client.publish(self._next, orjson.dumps(request), self._inbox)

    async def next(self) -> Msg | None:
        """The next message, or None when the request is over. Raises `PullLost`."""
        try:
            async with asyncio.timeout(_EXPIRES_SECONDS + _GRACE_SECONDS):
                message = await self._arrived.get()
        except TimeoutError:
            raise PullLost("the broker did not answer a pull request") from None
        if message is None:
            raise PullLost("the connection was lost")
        status = _status(message)
        if status is None:
            return message
        if status in _REQUEST_OVER:
            return None
        raise PullLost(f"status {status} {(message.headers or {}).get('Description', '')}".rstrip())

    async def close(self) -> list[Msg]:
        """Stop receiving. Returns the messages that were delivered and never handed out."""
        self._link.forget(self._lose)
        if self._subscription is not None:
            with suppress(nats.errors.Error, TimeoutError, OSError):
                async with within(_CLOSE_SECONDS):
                    # a drain, since messages may be on their way here
                    await self._subscription.drain()  # type: ignore[no-untyped-call]
        left = []
        while not self._arrived.empty():
            message = self._arrived.get_nowait()
            if message is not None and _status(message) is None:
                left.append(message)
        return left

    async def _arrive(self, message: Msg) -> None:
        self._arrived.put_nowait(message)

    def _lose(self) -> None:
        self._arrived.put_nowait(None)


def _status(message: Msg) -> str | None:
    # a producer's message has a reply subject to acknowledge it on, a status has none
    return None if message.reply else (message.headers or {}).get("Status", "?")
