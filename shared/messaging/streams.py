"""The streams of the platform and their limits."""

from dataclasses import dataclass

import structlog
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError

PAYMENTS = "PAYMENTS"
DEAD_LETTERS = "DEAD_LETTERS"
DEAD_PREFIX = "dead."

DUPLICATE_WINDOW_SECONDS = 120.0

NAME_IN_USE = 10058
"""JetStream's error code for a stream that exists with another configuration."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How much a stream may hold. At a limit of bytes or messages it refuses what is new and keeps what it has."""

    max_age_seconds: float
    max_bytes: int
    max_messages: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of both streams, and how many servers of a cluster keep a copy of each."""

    payments: StreamLimits = StreamLimits(max_age_seconds=7 * 86_400, max_bytes=256 * 2**20, max_messages=500_000)
    dead_letters: StreamLimits = StreamLimits(max_age_seconds=30 * 86_400, max_bytes=64 * 2**20, max_messages=50_000)
    replicas: int = 1


async def ensure_streams(jetstream: JetStreamContext, limits: Limits) -> None:
    """Create the streams that are missing. One that exists with other settings is the operator's: it is left alone."""
    for config in _configs(limits):
        try:
            await jetstream.add_stream(config)
        except APIError as error:
            if error.err_code != NAME_IN_USE:
                raise
            log.info("stream exists with other settings, left alone", stream=config.name)


def _configs(limits: Limits) -> list[StreamConfig]:
    return [
        # a work queue: a message leaves the stream once its consumer has acknowledged it, so what fills the stream is
        # the backlog and nothing else; each subject has one consumer (shared by all replicas)
        _config(PAYMENTS, "payments.>", RetentionPolicy.WORK_QUEUE, limits.payments, limits.replicas),
        _config(DEAD_LETTERS, f"{DEAD_PREFIX}>", RetentionPolicy.LIMITS, limits.dead_letters, limits.replicas),
    ]


def _config(name: str, subjects: str, retention: RetentionPolicy, limits: StreamLimits, replicas: int) -> StreamConfig:
    return StreamConfig(
        name=name,
        subjects=[subjects],
        retention=retention,
        storage=StorageType.FILE,
        num_replicas=replicas,
        discard=DiscardPolicy.NEW,  # the outbox keeps what is refused; discarding the old would lose it
        max_age=limits.max_age_seconds,
        max_bytes=limits.max_bytes,
        max_msgs=limits.max_messages,
        duplicate_window=DUPLICATE_WINDOW_SECONDS,
    )
