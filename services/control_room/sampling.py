"""Tail sampling: which traces are worth keeping, decided when most of a trace is there.

Kept are all with an error or a slow span, a share of the rest, and up to so many a second more: a quiet platform shows
every trace, a busy one a tenth. The share is chosen by the last 56 bits of the trace id, as OpenTelemetry's samplers
do, so anybody who samples as they do agrees. See
https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from services.control_room.arrivals import Arrival

_REMEMBERED = 20_000
_RANDOM_BITS = 56


class Budget(Protocol):
    """How many ordinary traces may be kept beyond the share."""

    def take(self) -> bool:
        """Take one, if there is one."""
        ...


class RateBudget:
    """So many a second, with as many saved up at most as come in two seconds."""

    def __init__(self, per_second: float, monotonic: Callable[[], float]) -> None:
        self._rate, self._most, self._monotonic = per_second, max(per_second * 2, 1.0) if per_second else 0, monotonic
        self._left, self._at = self._most, monotonic()

    def take(self) -> bool:
        """Take one, if there is one."""
        now = self._monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(slots=True)
class _Waiting:
    due: float
    spans: list[Arrival] = field(default_factory=list)
    keep: bool = False


@dataclass(slots=True)
class Decided:
    """Traces whose decision has come, and which way it went. `ordinary` are to be dropped unless they are stored
    already: a trace that goes on long after its first spans were kept."""

    keep: list[Arrival] = field(default_factory=list)
    ordinary: dict[str, list[Arrival]] = field(default_factory=dict)


class TailSampler:
    """Holds spans back until their trace is decided. Spans that come later follow the decision, while it is known."""

    def __init__(
        self, *, share: float, slow_us: int, wait: float, budget: Budget, monotonic: Callable[[], float]
    ) -> None:
        self._threshold = int((1 - share) * 2**_RANDOM_BITS)
        self._slow_us, self._wait, self._budget, self._monotonic = slow_us, wait, budget, monotonic
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._decisions: OrderedDict[str, bool] = OrderedDict()
        self._follow = Decided()
        self.held = 0

    def offer(self, arrivals: list[Arrival]) -> None:
        """Take spans in."""
        due = self._monotonic() + self._wait
        self.held += len(arrivals)
        for arrival in arrivals:
            telling = arrival.failed or arrival.duration_us >= self._slow_us
            decision = self._decisions.get(arrival.trace_id)
            if decision is not None and (decision or not telling):
                self._place(arrival.trace_id, [arrival], keep=decision)
                continue
            waiting = self._waiting.get(arrival.trace_id)
            if waiting is None:
                waiting = self._waiting[arrival.trace_id] = _Waiting(due)
            waiting.spans.append(arrival)
            waiting.keep = waiting.keep or telling

    def decide(self, *, all_of_them: bool = False) -> Decided:
        """What is decided by now; the caller has it from here on."""
        now = self._monotonic()
        while self._waiting:
            trace_id, waiting = next(iter(self._waiting.items()))  # the oldest: all wait equally long
            if waiting.due > now and not all_of_them:
                break
            del self._waiting[trace_id]
            keep = waiting.keep or self._in_share(trace_id) or self._budget.take()
            self._remember(trace_id, keep=keep)
            self._place(trace_id, waiting.spans, keep=keep)
        decided, self._follow = self._follow, Decided()
        self.held -= len(decided.keep) + sum(len(spans) for spans in decided.ordinary.values())
        return decided

    def kept(self, trace_id: str) -> None:
        """Correct a decision: the trace is stored already."""
        self._remember(trace_id, keep=True)

    def _place(self, trace_id: str, spans: list[Arrival], *, keep: bool) -> None:
        if keep:
            self._follow.keep += spans
        else:
            self._follow.ordinary.setdefault(trace_id, []).extend(spans)

    def _in_share(self, trace_id: str) -> bool:
        return int(trace_id[-_RANDOM_BITS // 4 :], 16) >= self._threshold

    def _remember(self, trace_id: str, *, keep: bool) -> None:
        self._decisions[trace_id] = keep
        self._decisions.move_to_end(trace_id)
        while len(self._decisions) > _REMEMBERED:
            self._decisions.popitem(last=False)
