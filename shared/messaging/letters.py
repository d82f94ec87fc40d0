"""Dead letters: messages that were given up, kept for an operator to look at, replay or discard."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import nats.errors
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError

from shared.messaging import wire
from shared.messaging.broker import Broker
from shared.messaging.link import BrokerUnavailable, Link
from shared.messaging.streams import DEAD_LETTERS, DEAD_PREFIX

SUBJECT = "Holdfast-Subject"
STREAM = "Holdfast-Stream"
SEQUENCE = "Holdfast-Sequence"
CONSUMER = "Holdfast-Consumer"
DELIVERIES = "Holdfast-Deliveries"
REASON = "Holdfast-Reason"
DIED_AT = "Holdfast-Died-At"
ORIGINAL_ID = "Holdfast-Message-Id"

_OURS, _THE_BROKERS = "Holdfast-", "Nats-"


@dataclass(frozen=True, slots=True)
class Death:
    """What is known of a message when it is given up. `stored_ns` is when its stream took it, epoch nanoseconds."""

    subject: str
    stream: str
    sequence: int
    consumer: str
    deliveries: int
    stored_ns: int
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter. `sequence`, its place in the stream of dead letters, is its id."""

    sequence: int
    subject: str
    original_sequence: int
    deliveries: int
    reason: str
    died_at: str
    message_id: str
    headers: dict[str, str]
    data: bytes

    @property
    def body(self) -> dict[str, Any] | None:
        """The body, or None when it is not a JSON object."""
        try:
            return wire.decode(self.data)
        except wire.Unreadable:
            return None


class NoSuchDeadLetter(Exception):
    """There is no dead letter with that sequence (any more)."""


async def bury(broker: Broker, death: Death, data: bytes, headers: Mapping[str, str]) -> None:
    """Store a dead letter. Raises `BrokerUnavailable`.

    Storing the same death again within two minutes (after a crash before the original was removed) changes nothing.
    """
    kept = _plain(headers)
    kept |= {
        SUBJECT: death.subject,
        STREAM: death.stream,
        SEQUENCE: str(death.sequence),
        CONSUMER: death.consumer,
        DELIVERIES: str(death.deliveries),
        REASON: wire.header_text(death.reason),
        DIED_AT: death.at.isoformat(timespec="milliseconds"),
        ORIGINAL_ID: headers.get(wire.MESSAGE_ID, ""),
        # the time tells apart equal sequences of a stream that was lost and made again
        wire.MESSAGE_ID: f"dead-{death.stream}-{death.consumer}-{death.sequence}-{death.stored_ns}",
    }
    await broker.publish_bytes(DEAD_PREFIX + death.subject, data, kept)


class DeadLetters:
    """Reads and settles dead letters. Every method raises `BrokerUnavailable` while the broker is away."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def list(self, *, after: int = 0, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters with a sequence above `after`, at most `limit`."""
        letters: list[DeadLetter] = []
        while len(letters) < limit:
            try:
                letters.append(_letter(await self._read(after + 1, or_later=True)))
            except NoSuchDeadLetter:
                break
            after = letters[-1].sequence
        return letters

    async def get(self, sequence: int) -> DeadLetter:
        """One of them. Raises `NoSuchDeadLetter`."""
        return _letter(await self._read(sequence, or_later=False))

    async def replay(self, sequence: int) -> DeadLetter:
        """Publish it to its original subject, as a new message, and then remove it. Raises `NoSuchDeadLetter`.

        Publishing comes first: a crash in between leaves both, and a second replay within two minutes is dropped by
        the broker, since the new message's id is made from the dead letter.
        """
        message = await self._read(sequence, or_later=False)
        letter = _letter(message)
        stored = message.time.timestamp() if isinstance(message.time, datetime) else message.time
        headers = letter.headers | {wire.MESSAGE_ID: f"replay-{sequence}-{stored}"}
        await self._broker.publish_bytes(letter.subject, letter.data, headers)
        await self.discard(sequence)
        return letter

    async def replay_all(self) -> int:
        """Replay every dead letter that is there now, oldest first. Returns how many.

        One that dies again meanwhile gets a later sequence and waits for the next time.
        """
        replayed, after, newest = 0, 0, await self._newest()
        while after < newest:
            later = await self.list(after=after, limit=1)
            if not later or later[0].sequence > newest:
                break
            after = later[0].sequence
            with suppress(NoSuchDeadLetter):  # somebody else has settled it since
                await self.replay(after)
                replayed += 1
        return replayed

    async def discard(self, sequence: int) -> None:
        """Remove it for good. Raises `NoSuchDeadLetter`."""
        link = self._live()
        try:
            async with link.in_time():
                await link.jetstream.delete_msg(DEAD_LETTERS, sequence)
        except APIError as error:
            if error.code in {400, 404, 500}:  # the server's answers for a sequence that it does not hold
                raise NoSuchDeadLetter(str(sequence)) from error
            raise BrokerUnavailable(str(error)) from error
        except (nats.errors.Error, TimeoutError) as error:
            raise BrokerUnavailable(str(error)) from error

    async def _newest(self) -> int:
        link = self._live()
        try:
            async with link.in_time():
                return (await link.jetstream.stream_info(DEAD_LETTERS)).state.last_seq
        except (nats.errors.Error, TimeoutError) as error:
            raise BrokerUnavailable(str(error)) from error

    async def _read(self, sequence: int, *, or_later: bool) -> RawStreamMsg:
        link = self._live()
        if sequence < 1:
            raise NoSuchDeadLetter(str(sequence))
        try:
            async with link.in_time():
                return await link.jetstream.get_msg(
                    DEAD_LETTERS, seq=sequence, subject=">" if or_later else None, next=or_later
                )
        except NotFoundError as error:
            raise NoSuchDeadLetter(str(sequence)) from error
        except (nats.errors.Error, TimeoutError) as error:
            raise BrokerUnavailable(str(error)) from error

    def _live(self) -> Link:
        if (link := self._broker.current) is None:
            raise BrokerUnavailable("not connected")
        return link


def _plain(headers: Mapping[str, str]) -> dict[str, str]:
    """Those headers that the sender put there, without the broker's and ours."""
    return {
        name: wire.header_text(value, limit=1_000)
        for name, value in headers.items()
        if not name.startswith((_OURS, _THE_BROKERS))
    }


def _letter(message: RawStreamMsg) -> DeadLetter:
    headers = message.headers or {}
    return DeadLetter(
        sequence=message.seq or 0,
        subject=headers.get(SUBJECT) or (message.subject or "").removeprefix(DEAD_PREFIX),
        original_sequence=int(headers.get(SEQUENCE, 0)),
        deliveries=int(headers.get(DELIVERIES, 0)),
        reason=headers.get(REASON, ""),
        died_at=headers.get(DIED_AT, ""),
        message_id=headers.get(ORIGINAL_ID, ""),
        headers=_plain(headers),
        data=message.data or b"",
    )
