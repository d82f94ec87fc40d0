"""A worker: takes messages of one subject, hands each to a handler, and settles it by what came of that."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import nats.errors
import orjson
import structlog
from nats.aio.msg import Msg
from nats.js.errors import APIError, NotFoundError
from prometheus_client import CollectorRegistry

from shared.chassis.clock import Clock, SystemClock
from shared.messaging import tracing, wire
from shared.messaging.broker import Broker
from shared.messaging.letters import Death, bury
from shared.messaging.link import BrokerUnavailable, Link
from shared.messaging.metrics import Metrics
from shared.messaging.pull import Pull, PullLost
from shared.messaging.redelivery import RedeliveryPolicy

_ACK, _NAK, _TERM, _IN_PROGRESS = b"+ACK", b"-NAK", b"+TERM", b"+WPI"
_AGAIN_SECONDS, _REFUSED_SECONDS = 0.5, 5.0
_LAST_WORD_SECONDS = 1.0
"""How long a cancelled handler's message may take to be handed back."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Message:
    """What a handler gets. `deliveries` counts this one: 1 at the first."""

    body: dict[str, Any]
    headers: Mapping[str, str]
    subject: str
    deliveries: int


class Reject(Exception):
    """Raised by a handler: no other delivery would help; the message goes to the dead letters with this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Worker:
    """Handles the messages of `subject` in `stream`, at least once each, at most `concurrency` at a time.

    Replicas with the same `durable` share the messages. A message is acknowledged after `handler` has returned. If it
    raises, the message comes again by `policy`; if it raises `Reject`, or the policy is used up, or the body is not a
    JSON object, the message moves to the dead letters.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        stream: str,
        durable: str,
        subject: str,
        handler: Callable[[Message], Awaitable[None]],
        policy: RedeliveryPolicy | None = None,
        concurrency: int = 8,
        drain_seconds: float = 4.0,
        registry: CollectorRegistry | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._broker = broker
        self._stream, self._durable, self._subject = stream, durable, subject
        self._handler = handler
        self._policy = policy or RedeliveryPolicy()
        self._concurrency = concurrency
        self._drain_seconds = drain_seconds
        self._metrics = Metrics.of(registry)
        for outcome in ("ack", "retry", "dead"):
            self._metrics.messages.labels(subject, outcome)  # from the start at 0: the first dead one is an increase
        self._clock = clock or SystemClock()
        self._running: set[asyncio.Task[None]] = set()
        self._in_handler: set[str] = set()
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled. The broker may be away, restart, or lose the stream and the consumer meanwhile.

        When cancelled, take no more messages, let running handlers finish within `drain_seconds`, then cancel them and
        hand their messages to the other replicas at once.
        """
        reporting = asyncio.create_task(self._report_progress())
        try:
            while True:
                link = await self._broker.link()
                try:
                    await self._consume(link)
                except (PullLost, NotFoundError) as error:
                    log.info("consumer lost, making it again", durable=self._durable, reason=str(error))
                    if self._broker.current is link:
                        link.streams_are_missing()
                        await asyncio.sleep(_AGAIN_SECONDS)
                except APIError as error:
                    log.warning("consumer refused by the broker", durable=self._durable, reason=str(error))
                    await asyncio.sleep(_REFUSED_SECONDS)
                except (nats.errors.Error, TimeoutError, OSError) as error:
                    log.info("consumer not reached, trying on", durable=self._durable, reason=str(error))
                    await asyncio.sleep(_AGAIN_SECONDS)
        finally:
            await self._finish_running()
            reporting.cancel()

    async def _consume(self, link: Link) -> None:
        pull = Pull(link, self._stream, self._durable)
        try:
            await pull.open(self._subject, self._policy.ack_wait)
            while True:
                room = await self._wait_for_room()
                await pull.ask(room)
                for _ in range(room):
                    if (delivery := await pull.next()) is None:
                        break
                    self._begin(delivery)
        finally:
            for delivery in await pull.close():
                await self._hand_back(delivery)

    async def _wait_for_room(self) -> int:
        while (room := self._concurrency - len(self._running)) <= 0:
            self._room.clear()
            await self._room.wait()
        return room

    def _begin(self, delivery: Msg) -> None:
        task = asyncio.create_task(self._handle(delivery))
        self._running.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._room.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("message could not be settled", durable=self._durable, exc_info=error)

    async def _handle(self, delivery: Msg) -> None:
        deliveries = delivery.metadata.num_delivered
        if deliveries > self._policy.max_deliveries:
            # its workers died, or never came to settle it
            await self._bury(delivery, f"delivered {deliveries - 1} times and never settled")
            return
        try:
            body = wire.decode(delivery.data)
        except wire.Unreadable as error:
            await self._bury(delivery, str(error))
            return
        message = Message(body, delivery.headers or {}, delivery.subject, deliveries)
        try:
            await self._call(message, delivery.reply)
        except Reject as error:
            await self._bury(delivery, error.reason)
        except asyncio.CancelledError:
            await self._hand_back(delivery)
            raise
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the message must not be lost
            await self._retry(delivery, error)
        else:
            await self._settle(delivery, _ACK, "ack")

    async def _call(self, message: Message, reply: str) -> None:
        self._in_handler.add(reply)
        try:
            with tracing.handling(message.subject, message.headers, message.deliveries):
                await self._handler(message)
        finally:
            self._in_handler.discard(reply)

    async def _retry(self, delivery: Msg, error: Exception) -> None:
        deliveries = delivery.metadata.num_delivered
        reason = f"{type(error).__name__}: {error}"
        if deliveries >= self._policy.max_deliveries:
            await self._bury(delivery, f"failed {deliveries} times, last with {reason}")
            return
        wait = self._policy.wait_after(deliveries)
        log.info("message comes again", subject=delivery.subject, deliveries=deliveries, wait=wait, reason=reason)
        await self._settle(delivery, _nak(wait), "retry")

    async def _bury(self, delivery: Msg, reason: str) -> None:
        metadata = delivery.metadata
        death = Death(
            subject=delivery.subject,
            stream=self._stream,
            sequence=metadata.sequence.stream,
            consumer=self._durable,
            deliveries=metadata.num_delivered,
            stored_ns=int(metadata.timestamp.timestamp() * 1e9),
            reason=reason,
            at=datetime.fromtimestamp(self._clock.now(), UTC),
        )
        try:
            await bury(self._broker, death, delivery.data, delivery.headers or {})
        except BrokerUnavailable as error:
            log.warning("dead letter not stored, the message comes again", subject=delivery.subject, reason=str(error))
            await self._settle(delivery, _nak(self._policy.max_wait), "retry")
            return
        log.warning("message is dead", subject=death.subject, deliveries=death.deliveries, reason=reason)
        await self._settle(delivery, _TERM, "dead")

    async def _settle(self, delivery: Msg, verdict: bytes, outcome: str) -> None:
        """Tell the broker and wait for its confirmation, over the next connection if this one is lost."""
        try:
            # later than that the message has been delivered again
            async with asyncio.timeout(self._policy.ack_wait):
                await self._tell(delivery, verdict)
        except TimeoutError:
            log.warning("message not settled in time, it comes again", subject=delivery.subject)
        else:
            self._metrics.messages.labels(delivery.subject, outcome).inc()

    async def _tell(self, delivery: Msg, verdict: bytes) -> None:
        while True:
            link = await self._broker.link()
            try:
                await link.request(delivery.reply, verdict)
            except nats.errors.NoRespondersError:
                return  # the consumer is gone, and the delivery with it
            except (nats.errors.Error, TimeoutError, OSError) as error:
                log.debug("settling a message again", subject=delivery.subject, reason=str(error))
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                return

    async def _hand_back(self, delivery: Msg) -> None:
        if (link := self._broker.current) is None:
            return
        with suppress(nats.errors.Error, TimeoutError, OSError):
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                await link.request(delivery.reply, _NAK)

    async def _report_progress(self) -> None:
        while True:
            await asyncio.sleep(self._policy.ack_wait / 3)
            if (link := self._broker.current) is None:
                continue
            for reply in tuple(self._in_handler):
                with suppress(nats.errors.Error, TimeoutError, OSError):
                    async with link.in_time():
                        await link.client.publish(reply, _IN_PROGRESS)

    async def _finish_running(self) -> None:
        try:
            if self._running:
                await asyncio.wait(self._running, timeout=self._drain_seconds)
        finally:
            for task in self._running:
                task.cancel()
        if self._running:
            await asyncio.wait(self._running)


def _nak(wait: float) -> bytes:
    return _NAK + b" " + orjson.dumps({"delay": int(wait * 1e9)}) if wait > 0 else _NAK
