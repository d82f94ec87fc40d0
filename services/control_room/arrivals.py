"""Spans as they arrive: what the decision about a trace needs is read at once, the rest only when the trace is kept."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

Attributes = list[tuple[str, Any]]
"""Values are str, bool, int, float, or what JSON has for lists and maps."""


@dataclass(frozen=True, slots=True)
class Process:
    """Who made spans: an OTLP resource. Shared by all spans of a request that name it."""

    service: str
    tags: Attributes


class Event(NamedTuple):
    """Something that happened during a span."""

    time_us: int
    name: str
    attributes: Attributes


class SpanData(NamedTuple):
    """All of a span, whichever encoding it came in."""

    parent_id: str
    name: str
    kind: str
    attributes: Attributes
    events: list[Event]
    links: list[tuple[str, str]]
    failed: bool
    status_message: str


@dataclass(slots=True)
class Arrival:
    """One span. Times in microseconds since the epoch; `size` is its share of the request's bytes.

    `read()` gives the rest, and raises ValueError when that is malformed.
    """

    trace_id: str
    span_id: str
    start_us: int
    duration_us: int
    failed: bool
    process: Process
    scope: str
    size: int
    read: Callable[[], SpanData]


MAX_ATTRIBUTES = 128
MAX_EVENTS = 64
MAX_LINKS = 32
MAX_NAME = 256
MAX_TEXT = 2_048
"""What is kept of a span: the rest is cut off, so that no sender decides about our memory and disk."""

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
"""OTLP's numbers for kinds, as Jaeger writes them."""
FAILED = 2
"""OTLP's status code for an error."""


def shortened(value: Any) -> Any:
    """`value` without what is too long of it."""
    return value[:MAX_TEXT] if isinstance(value, str) else value
