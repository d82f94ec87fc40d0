"""Breaker states in a NATS KV bucket: the store behind `shared.resilience.sharing`.

One key a replica and breaker. What is stored is how long the breaker stays open from then on; how old that is, the
server tells by its own clock, so the replicas' clocks do not matter.

News come over a plain subscription to the bucket's subjects and not over a consumer: a consumer is one more thing to
lose, and news that were missed are read from the bucket at the next connection.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from typing import Any

import nats.errors
import orjson
from nats.aio.msg import Msg
from nats.js.errors import APIError, NotFoundError

from shared.messaging.broker import Broker
from shared.messaging.link import BrokerUnavailable, Link
from shared.messaging.patience import within
from shared.messaging.streams import NAME_IN_USE
from shared.resilience.sharing import SharedState

_KEPT_SECONDS = 3_600.0
_MAX_BYTES, _MAX_VALUE_BYTES = 2**20, 1_024
_MAX_KEYS = 500
_MAX_WAITING = 1_000
_CLOSE_SECONDS = 1.0


class NatsTransitionStore:
    """The bucket `breakers-<service>`: breakers of two services that have the same name have nothing in common."""

    def __init__(self, broker: Broker, *, service: str) -> None:
        self._broker = broker
        self._bucket = f"breakers-{service}"
        self._ready: Link | None = None
        # The last that was handed over of each key, so that a new connection does not bring old news again.
        self._heard: dict[str, str] = {}

    async def publish(self, state: SharedState) -> None:
        """Store it. Raises `BrokerUnavailable`."""
        link = self._broker.current
        if link is None:
            raise BrokerUnavailable("not connected")
        try:
            await self._ensure_bucket(link)
            await link.publish(self._subject(state), _encode(state), {})
        except BrokerUnavailable:
            # The bucket may be what is missing.
            self._ready = None
            raise
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise BrokerUnavailable(str(error) or type(error).__name__) from error

    async def watch(self) -> AsyncIterator[SharedState]:
        """What is stored, then what is published, until the connection is lost. Waits for a connection first.

        Raises nats.errors.Error, TimeoutError, OSError.
        """
        link = await self._broker.link()
        await self._ensure_bucket(link)
        news = _News()
        async with link.in_time():
            # Before the bucket is read: between the two, nothing is missed.
            subscription = await link.client.subscribe(f"$KV.{self._bucket}.>", cb=news.arrive)
        link.on_loss(news.lose)
        try:
            for key, payload, age in await self._stored(link):
                if (told := self._told(key, payload, age)) is not None:
                    yield told
            while self._broker.current is link and (arrived := await news.next()) is not None:
                if (told := self._told(*arrived)) is not None:
                    yield told
        finally:
            link.forget(news.lose)
            with suppress(nats.errors.Error, TimeoutError, OSError):
                async with within(_CLOSE_SECONDS):
                    await subscription.unsubscribe()

    async def _ensure_bucket(self, link: Link) -> None:
        if self._ready is link:
            return
        try:
            async with link.in_time():
                await link.jetstream.create_key_value(
                    bucket=self._bucket,
                    history=1,
                    ttl=_KEPT_SECONDS,
                    max_bytes=_MAX_BYTES,
                    max_value_size=_MAX_VALUE_BYTES,
                    direct=True,
                    replicas=self._broker.replicas,
                )
        except APIError as error:
            if error.err_code != NAME_IN_USE:
                raise
            # It exists with other settings, which are the operator's.
        self._ready = link

    async def _stored(self, link: Link) -> list[tuple[str, bytes, float]]:
        """Key, value and age in seconds of what the bucket holds."""
        stream = f"KV_{self._bucket}"
        asked = orjson.dumps({"subjects_filter": f"$KV.{self._bucket}.>"})
        info = orjson.loads((await link.request(f"$JS.API.STREAM.INFO.{stream}", asked)).data)
        subjects = (info.get("state") or {}).get("subjects") or {}
        # The server's present time and the messages' times come from one clock, whatever ours says.
        offset = datetime.fromisoformat(info["ts"]).timestamp() - time.monotonic()
        found: list[tuple[str, bytes, float]] = []
        for subject in list(subjects)[:_MAX_KEYS]:
            with suppress(NotFoundError):
                async with link.in_time():
                    message = await link.jetstream.get_msg(stream, subject=subject, direct=True)
                if message.data and message.time is not None:
                    age = time.monotonic() + offset - message.time.timestamp()
                    found.append((subject, message.data, max(0.0, age)))
        return found

    def _told(self, key: str, payload: bytes, age: float) -> SharedState | None:
        found = _decode(payload)
        if found is None:
            return None
        state, number = found
        if self._heard.get(key) == number or (key not in self._heard and len(self._heard) >= _MAX_KEYS):
            return None
        self._heard[key] = number
        return SharedState(state.breaker, state.origin, state.state, max(0.0, state.remaining - age))

    def _subject(self, state: SharedState) -> str:
        return f"$KV.{self._bucket}.{_token(state.breaker)}.{_token(state.origin)}"


class _News:
    """What arrives on the subscription, with the time at which it did; the oldest gives way when too much waits."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[str, bytes, float] | None] = asyncio.Queue(_MAX_WAITING)

    async def arrive(self, message: Msg) -> None:
        self._put((message.subject, message.data, time.monotonic()))

    def lose(self) -> None:
        self._put(None)

    async def next(self) -> tuple[str, bytes, float] | None:
        """Key, value and age; None: the connection is lost."""
        arrived = await self._queue.get()
        return None if arrived is None else (arrived[0], arrived[1], time.monotonic() - arrived[2])

    def _put(self, item: tuple[str, bytes, float] | None) -> None:
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(item)


def _encode(state: SharedState) -> bytes:
    return orjson.dumps(
        {
            "number": uuid.uuid4().hex,
            "breaker": state.breaker,
            "origin": state.origin,
            "state": state.state,
            "remaining_ms": round(state.remaining * 1000),
        }
    )


def _decode(payload: bytes) -> tuple[SharedState, str] | None:
    """The state, and the number of its publication. None: nothing of ours."""
    try:
        body: dict[str, Any] = orjson.loads(payload)
        texts = [body[name] for name in ("breaker", "origin", "state", "number")]
        remaining = body["remaining_ms"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    if not all(isinstance(text, str) for text in texts) or isinstance(remaining, bool):
        return None
    if not isinstance(remaining, int | float) or remaining < 0:
        return None
    breaker, origin, state, number = texts
    return SharedState(breaker, origin, state, remaining / 1000), number


def _token(name: str) -> str:
    """A name as one token of a KV key, which takes letters, digits and a few signs."""
    return "".join(each if (each.isascii() and each.isalnum()) or each in "-_" else f"={ord(each):X}" for each in name)
