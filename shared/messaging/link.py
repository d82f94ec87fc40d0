"""One connection to the broker, from connect to loss.

The client's own reconnecting is switched off. It would keep unsent messages and replay them later, leave callers to
wait for answers that cannot come, and give up for good on some errors. Here a lost connection is thrown away with all
that waits on it, and `Broker` makes a new one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError

from shared.messaging.patience import within
from shared.messaging.streams import Limits, ensure_streams

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 2.0
"""How long a publish or a request may take before it counts as failed."""

_PING_EVERY_SECONDS, _PONG_SECONDS = 2.0, 3.0
_CLOSE_SECONDS = 1.0
_MAX_IN_FLIGHT = 1_000

log = structlog.get_logger()


class BrokerUnavailable(Exception):
    """The broker is away, or did not confirm in time that it has stored a message. It may have stored it."""


class _Client(Client):  # type: ignore[misc, unused-ignore]
    def abort(self) -> None:
        """Drop the socket without flushing: `close` waits for a peer that may never read again."""
        self._pending = []
        self._pending_data_size = 0
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        for subscription in self._subs.values():
            if (reader := getattr(subscription, "_wait_for_msgs_task", None)) is not None:
                reader.cancel()


class Link:
    """A live connection with its JetStream context. Everything on it fails at once when it is lost."""

    def __init__(self, client: _Client, limits: Limits) -> None:
        self.client = client
        self.jetstream: JetStreamContext = client.jetstream(timeout=ANSWER_SECONDS)
        self._limits = limits
        self._streams_missing = False
        self._look = asyncio.Event()
        self._lost = False
        self._waiting: set[asyncio.Timeout] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._on_loss: set[Callable[[], None]] = set()

    @classmethod
    async def open(cls, servers: list[str], *, user: str, password: str, name: str, limits: Limits) -> "Link":
        """Connect and see to the streams. Raises `BrokerUnavailable`."""
        client = _Client()
        link = cls(client, limits)
        try:
            async with within(CONNECT_SECONDS):
                await client.connect(
                    servers=servers,
                    user=user or None,
                    password=password or None,
                    name=name,
                    allow_reconnect=False,
                    # each server is tried twice: with none or fewer allowed, the client would try for ever
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    ping_interval=3_600,  # `watch` pings
                    error_cb=link._note_error,
                    closed_cb=link._note_closed,
                )
                await ensure_streams(link.jetstream, limits)
        except Exception as error:
            # anything: the client also raises what a garbled answer leads to, and the next attempt may go well
            await link.close()
            raise BrokerUnavailable(str(error) or type(error).__name__) from error
        except asyncio.CancelledError:
            await link.close()
            raise
        return link

    async def watch(self) -> str:
        """Return, with the reason, when the connection is no longer of use."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PING_EVERY_SECONDS):
                    await self._look.wait()
            self._look.clear()
            if self.client.is_closed:
                return "closed"
            try:
                if self._streams_missing:
                    async with within(CONNECT_SECONDS):
                        await ensure_streams(self.jetstream, self._limits)
                    self._streams_missing = False
                async with within(_PONG_SECONDS):
                    await self.client.rtt(timeout=_PONG_SECONDS)  # type: ignore[arg-type, unused-ignore]
            except (nats.errors.Error, TimeoutError, OSError) as error:
                return str(error) or type(error).__name__

    async def close(self) -> None:
        """Fail what waits for an answer, tell the listeners, and drop the connection."""
        self._lost = True
        for limit in self._waiting:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())
        listeners, self._on_loss = self._on_loss, set()
        for listener in listeners:
            listener()
        self.client.abort()
        with suppress(nats.errors.Error, TimeoutError, OSError):
            async with within(_CLOSE_SECONDS):
                await self.client.close()

    async def flushed(self) -> None:
        """Return when every publish that has begun was answered and every acknowledgement has left."""
        await self._quiet.wait()
        with suppress(nats.errors.Error, OSError):
            await self.client.flush()

    def on_loss(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, once, when this connection is given up."""
        self._on_loss.add(listener)

    def forget(self, listener: Callable[[], None]) -> None:
        """Undo `on_loss`."""
        self._on_loss.discard(listener)

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        """Store one message. Raises `BrokerUnavailable` unless the broker has confirmed it in `ANSWER_SECONDS`."""
        if len(self._waiting) >= _MAX_IN_FLIGHT:
            raise BrokerUnavailable(f"{_MAX_IN_FLIGHT} requests wait for an answer already")
        try:
            async with self.in_time():
                # not publish_async: it leaves its caller waiting when the answer is an error with code 503
                await self.jetstream.publish(subject, payload, timeout=ANSWER_SECONDS, headers=dict(headers))
        except TimeoutError as error:
            self._look.set()
            reason = "the connection was lost" if self._lost else f"no confirmation within {ANSWER_SECONDS:g} s"
            raise BrokerUnavailable(reason) from error
        except NoStreamResponseError as error:
            self.streams_are_missing()
            raise BrokerUnavailable(f"no stream takes the subject {subject}") from error
        except (nats.errors.Error, OSError) as error:
            self._look.set()
            detail = error.description if isinstance(error, APIError) else str(error)
            raise BrokerUnavailable(detail or type(error).__name__) from error

    async def request(self, subject: str, payload: bytes) -> Msg:
        """Ask and wait for the answer. Raises nats.errors.Error, or TimeoutError."""
        async with self.in_time():
            return await self.client.request(subject, payload, timeout=ANSWER_SECONDS)

    def streams_are_missing(self) -> None:
        """Have the streams created again, soon."""
        self._streams_missing = True
        self._look.set()

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Bound a block to `ANSWER_SECONDS` and to the life of the connection. Raises TimeoutError."""
        async with within(ANSWER_SECONDS) as limit:
            self._waiting.add(limit)
            self._quiet.clear()
            try:
                yield
            finally:
                self._waiting.discard(limit)
                if not self._waiting:
                    self._quiet.set()

    async def _note_error(self, error: Exception) -> None:
        log.debug("broker connection", error=repr(error))
        self._look.set()

    async def _note_closed(self) -> None:
        self._look.set()
