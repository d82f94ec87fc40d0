"""What happened, as values.

Each policy publishes to an `EventBus`. A listener is a plain function; what it raises is logged and never reaches the
call. The last events are kept, with a `SeenError` in place of each error, so that a page or a test can ask what has
been going on.

`name` is the breaker's or the pipeline's, `at` the monotonic time in seconds.
"""

import dataclasses
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from shared.resilience.errors import SeenError

logger = logging.getLogger("holdfast.resilience")
# Instants alone do not order what happens in one turn of the event loop.
_order = itertools.count()


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    name: str
    at: float


@dataclass(frozen=True, slots=True)
class CallSucceeded(Event):
    """The breaker recorded a success. Published only while somebody listens to it, and never kept."""

    elapsed: float


@dataclass(frozen=True, slots=True)
class CallFailed(Event):
    """The breaker recorded a failure: an error, or a result that its predicate calls one (then `error` is None)."""

    elapsed: float
    error: Exception | None


@dataclass(frozen=True, slots=True)
class CallIgnored(Event):
    """An exception that says nothing about the dependency; nothing was recorded."""

    elapsed: float
    error: Exception


@dataclass(frozen=True, slots=True)
class CallSlow(Event):
    """The call took longer than the slow-call threshold; follows its success or failure."""

    elapsed: float


@dataclass(frozen=True, slots=True)
class CallRefused(Event):
    """The breaker did not permit a call."""

    state: str


@dataclass(frozen=True, slots=True)
class RateExceeded(Event):
    """A rate in per cent is at or over its threshold; once, before the breaker opens. `kind` is "failure" or "slow"."""

    kind: str
    rate: float
    threshold: float


@dataclass(frozen=True, slots=True)
class StateTransition(Event):
    """The breaker changed its state."""

    before: str
    after: str


@dataclass(frozen=True, slots=True)
class BreakerReset(Event):
    """Somebody reset the breaker: closed, with an empty window."""


@dataclass(frozen=True, slots=True)
class RetryScheduled(Event):
    """Attempt number `attempt` follows in `wait` seconds."""

    attempt: int
    wait: float
    error: Exception | None


@dataclass(frozen=True, slots=True)
class RetryRefused(Event):
    """A failed call is not tried again.

    reason: "not_idempotent", "attempts", "budget", "push_back" or "deadline"
    """

    attempts: int
    reason: str
    error: Exception | None


@dataclass(frozen=True, slots=True)
class RetrySucceeded(Event):
    """The call succeeded at attempt number `attempts`, which is at least 2."""

    attempts: int


@dataclass(frozen=True, slots=True)
class HedgeStarted(Event):
    """No answer after the delay: a further attempt began beside the first."""

    attempt: int


@dataclass(frozen=True, slots=True)
class HedgeWon(Event):
    """The hedge answered first; the first attempt was cancelled."""

    attempt: int


@dataclass(frozen=True, slots=True)
class HedgeRefused(Event):
    """The retry budget has nothing left for a hedge."""

    reason: str


@dataclass(frozen=True, slots=True)
class RateLimitRefused(Event):
    """No permission for `wait` seconds, which does not fit: `reason` is "queue_full", "wait" or "deadline"."""

    reason: str
    wait: float


@dataclass(frozen=True, slots=True)
class BulkheadRefused(Event):
    """No slot: `reason` is "queue_full", "wait" or "deadline"."""

    reason: str


@dataclass(frozen=True, slots=True)
class LimitChanged(Event):
    """The adaptive bulkhead admits another number of calls. Latencies in seconds: of the last window, and usual."""

    before: int
    after: int
    latency: float
    usual: float


@dataclass(frozen=True, slots=True)
class StaleAnswered(Event):
    """A kept answer, `age` seconds old, stood in for a call that failed. `cause` is None: it returned a failure."""

    age: float
    cause: Exception | None


@dataclass(frozen=True, slots=True)
class FaultInjected(Event):
    """From now on the fault acts, for `seconds` at most."""

    fault: str
    what: str
    seconds: float


@dataclass(frozen=True, slots=True)
class FaultEnded(Event):
    """The fault acts no more: its time is over, or somebody cleared it. `reason` is "expired" or "cleared"."""

    fault: str
    reason: str


@dataclass(frozen=True, slots=True)
class FaultStruck(Event):
    """The fault acted on an attempt."""

    fault: str
    what: str


@dataclass(frozen=True, slots=True)
class AttemptTimedOut(Event):
    """An attempt was cancelled after `limit` seconds. `by_deadline`: the caller's time was shorter than the timeout."""

    limit: float
    by_deadline: bool


@dataclass(frozen=True, slots=True)
class FallbackAnswered(Event):
    """The fallback named `fallback` answered instead of the dependency."""

    fallback: str
    cause: Exception


@dataclass(frozen=True, slots=True)
class FallbackFailed(Event):
    """The fallback named `fallback` raised `error`."""

    fallback: str
    cause: Exception
    error: Exception


@dataclass(frozen=True, slots=True)
class LayerSwitched(Event):
    """A layer of a pipeline was switched on or off."""

    layer: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class OpeningFollowed(Event):
    """The breaker is about to open for `wait` seconds, because that of the replica `origin` has opened."""

    origin: str
    wait: float


@dataclass(frozen=True, slots=True)
class ConfigApplied(Event):
    """A changed configuration file took effect. `name` is the file, the others are names of instances.

    removed: no longer in the file; they go on as they were until a restart
    """

    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConfigRefused(Event):
    """A changed configuration file makes no sense, so the settings before it stay. `reason` is `file:line: reason`."""

    reason: str


# By class, the fields that hold an error; filled as the classes turn up.
_error_fields: dict[type[Event], tuple[str, ...]] = {}


def _for_history(event: Event) -> Event:
    kind = type(event)
    names = _error_fields.get(kind)
    if names is None:
        names = tuple(field.name for field in dataclasses.fields(kind) if "Exception" in str(field.type))
        _error_fields[kind] = names
    errors: dict[str, Any] = {name: SeenError(error) for name in names if (error := getattr(event, name)) is not None}
    return dataclasses.replace(event, **errors) if errors else event


Listener: TypeAlias = Callable[[Event], None]


class EventBus:
    """Delivers events to listeners, and keeps the last `history` of them."""

    __slots__ = ("_listeners", "_recent", "wants_success")

    def __init__(self, history: int = 100) -> None:
        self._listeners: tuple[tuple[Listener, tuple[type[Event], ...]], ...] = ()
        self._recent: deque[tuple[int, Event]] = deque(maxlen=history)
        # Read on every successful call, so that a success which nobody listens to costs nothing.
        self.wants_success = False

    def subscribe(self, listener: Listener, *kinds: type[Event]) -> Callable[[], None]:
        """Call `listener` for events of `kinds` (none given: all). Returns what ends the subscription."""
        entry = (listener, kinds or (Event,))
        self._set((*self._listeners, entry))
        return lambda: self._set(tuple(kept for kept in self._listeners if kept is not entry))

    def publish(self, event: Event) -> None:
        """Deliver to every listener, whatever the others raise."""
        if not isinstance(event, CallSucceeded):
            self._recent.append((next(_order), _for_history(event)))
        for listener, kinds in self._listeners:
            if isinstance(event, kinds):
                try:
                    listener(event)
                except Exception:
                    logger.exception("a listener failed on %s", type(event).__name__)

    @property
    def recent(self) -> list[Event]:
        """The last events, oldest first, without successes."""
        return [event for _, event in self._recent]

    @staticmethod
    def merged(buses: "Iterable[EventBus]") -> list[Event]:
        """The last events of several buses, in the order in which they happened."""
        kept = sorted((entry for bus in buses for entry in bus._recent), key=lambda entry: entry[0])  # noqa: SLF001
        return [event for _, event in kept]

    def _set(self, listeners: tuple[tuple[Listener, tuple[type[Event], ...]], ...]) -> None:
        self._listeners = listeners
        self.wants_success = any(issubclass(CallSucceeded, kind) for _, kinds in listeners for kind in kinds)
