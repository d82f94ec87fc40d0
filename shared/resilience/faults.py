"""Faults on purpose: what a dependency does when it is ill, without making it ill.

    id = pipeline.faults.inject(Fault(latency=0.3, jitter=0.2, rate=0.5), seconds=30)
    pipeline.faults.clear(id)

They act around the call itself, so that timeout, bulkhead, breaker and retry see them as they would see the real thing.
A fault needs a time to live and ends by itself; whoever injected it may be gone by then. Without one, the layer is not
in the chain at all.
"""

import contextlib
import itertools
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any, TypeAlias

from pydantic import Field, field_validator, model_validator

from shared.resilience.clock import SYSTEM_CLOCK, Clock, Timer
from shared.resilience.errors import FaultRefused
from shared.resilience.events import EventBus, FaultEnded, FaultInjected, FaultStruck
from shared.resilience.invocation import Invocation, Step
from shared.resilience.settings import Duration, ExceptionType, Settings

LONGEST_SECONDS = 600.0
MOST_FAULTS = 20

Behaviour: TypeAlias = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Fault(Settings):
    """What happens to an attempt. `latency` and `jitter` come first, then one of the others, if any.

    latency:   seconds before the call
    jitter:    up to so many seconds more, evenly spread
    error:     an exception class, raised instead of the call
    result:    returned instead of the call, if given at all (None is a result)
    behaviour: awaited instead of the call, with a function that makes it; in code only
    rate:      the share of attempts that are struck, over 0 to 1

    From data, as an admin route has it: Fault.model_validate({"latency": "300ms", "error": "httpx.ConnectError"}).
    pydantic.ValidationError: it makes no sense.
    """

    latency: Duration = 0
    jitter: Duration = 0
    error: ExceptionType | None = None
    result: Any = None
    behaviour: Behaviour | None = None
    rate: Annotated[float, Field(gt=0, le=1)] = 1

    @field_validator("error")
    @classmethod
    def _can_be_raised(cls, error: type[Exception] | None) -> type[Exception] | None:
        if error is not None:
            make_error(error, "")
        return error

    @model_validator(mode="after")
    def _one_outcome(self) -> "Fault":
        outcomes = [name for name in ("error", "result", "behaviour") if name in self.model_fields_set]
        if len(outcomes) > 1:
            raise ValueError(f"one outcome at a time: {' and '.join(outcomes)}")
        if not outcomes and self.latency == 0 and self.jitter == 0:
            raise ValueError("a fault that does nothing")
        return self

    @property
    def what(self) -> str:
        """In a few words, for events and pages."""
        words = []
        if self.latency or self.jitter:
            words.append(f"latency {self.latency:g} s" + (f" + up to {self.jitter:g} s" if self.jitter else ""))
        if self.error is not None:
            words.append(f"error {self.error.__name__}")
        elif self.behaviour is not None:
            words.append(f"behaviour {getattr(self.behaviour, '__name__', type(self.behaviour).__name__)}")
        elif "result" in self.model_fields_set:
            words.append(f"result {type(self.result).__name__}")
        return ", ".join(words) + (f", {self.rate:.3g} of attempts" if self.rate < 1 else "")


def make_error(kind: type[Exception], text: str) -> Exception:
    """An exception of that class. ValueError: it wants more than a text, so nobody but its owner can make one."""
    for arguments in ((text,), ()):
        with contextlib.suppress(TypeError):
            return kind(*arguments)
    raise ValueError(f"{kind.__name__} cannot be made from a text; raise it in a behaviour")


@dataclass(frozen=True, slots=True)
class FaultSnapshot:
    """A fault that is active: how many seconds remain, and how many attempts it has struck."""

    id: str
    fault: Fault
    remaining: float
    struck: int


class _Active:
    """A fault and its time."""

    __slots__ = ("ends", "fault", "id", "struck", "timer")

    def __init__(self, fault_id: str, fault: Fault, ends: float) -> None:
        self.id = fault_id
        self.fault = fault
        self.ends = ends
        self.struck = 0
        self.timer: Timer | None = None


class Faults:
    """The faults of one pipeline.

    on_change: called when there are faults, and when there are none any more
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Clock = SYSTEM_CLOCK,
        events: EventBus | None = None,
        random: Random | None = None,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.events = events or EventBus()
        # Off: injecting is refused, rather than accepted and without effect.
        self.allowed = True
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - chance, not a secret
        self._on_change = on_change
        self._active: dict[str, _Active] = {}
        self._numbers = itertools.count(1)

    @property
    def active(self) -> bool:
        """Whether there is any."""
        return bool(self._active)

    def inject(self, fault: Fault, seconds: float | None = None) -> str:
        """From now on and for `seconds`, at most 600, the attempts of this pipeline suffer it. Returns its id.

        FaultRefused: no time to live or too long a one, too many faults at once, or the layer is switched off.
        """
        if seconds is None or not math.isfinite(seconds) or seconds <= 0:
            raise FaultRefused(f"a fault needs a time to live in seconds, not {seconds!r}")
        if seconds > LONGEST_SECONDS:
            raise FaultRefused(f"{seconds:g} s is too long: a fault lives at most {LONGEST_SECONDS:g} s")
        if not self.allowed:
            raise FaultRefused(f"the faults of pipeline {self.name!r} are switched off")
        now = self._clock.monotonic()
        self._expire(now)
        if len(self._active) >= MOST_FAULTS:
            raise FaultRefused(f"pipeline {self.name!r} has {MOST_FAULTS} faults already")
        active = _Active(f"fault-{next(self._numbers)}", fault, now + seconds)
        self._active[active.id] = active
        # Without a running loop nothing can fire; every look at the faults ends what is over.
        with contextlib.suppress(RuntimeError):
            active.timer = self._clock.call_later(seconds, self._end, active, "expired")
        self.events.publish(FaultInjected(self.name, now, active.id, fault.what, seconds))
        self._changed()
        return active.id

    def clear(self, fault_id: str | None = None) -> int:
        """End one fault; None: all. Returns how many ended: 0 when it was over already, or never was."""
        found = self._active.get(fault_id) if fault_id is not None else None
        ending = list(self._active.values()) if fault_id is None else [found] if found is not None else []
        for active in ending:
            self._end(active, "cleared")
        return len(ending)

    def snapshot(self) -> list[FaultSnapshot]:
        """What acts now, in the order of injection."""
        now = self._clock.monotonic()
        self._expire(now)
        return [FaultSnapshot(a.id, a.fault, a.ends - now, a.struck) for a in self._active.values()]

    def run(self, inner: Step, invocation: Invocation) -> Awaitable[Any]:
        """Make the attempt through every fault that strikes, in the order in which they were injected."""
        self._expire(self._clock.monotonic())
        struck = [a for a in self._active.values() if a.fault.rate >= 1 or self._random.random() < a.fault.rate]
        return self._suffer(struck, inner, invocation) if struck else inner(invocation)

    async def _suffer(self, struck: list[_Active], inner: Step, invocation: Invocation) -> Any:
        if not struck:
            return await inner(invocation)
        active, rest = struck[0], struck[1:]
        fault = active.fault
        active.struck += 1
        self.events.publish(FaultStruck(self.name, self._clock.monotonic(), active.id, fault.what))
        if fault.latency or fault.jitter:
            await self._clock.sleep(fault.latency + self._random.uniform(0, fault.jitter))
        if fault.error is not None:
            raise make_error(fault.error, f"injected into {self.name} by {active.id}")
        if fault.behaviour is not None:
            return await fault.behaviour(lambda: self._suffer(rest, inner, invocation))
        if "result" in fault.model_fields_set:
            return fault.result
        return await self._suffer(rest, inner, invocation)

    def _expire(self, now: float) -> None:
        for active in [a for a in self._active.values() if a.ends <= now]:
            self._end(active, "expired")

    def _end(self, active: _Active, reason: str) -> None:
        if self._active.pop(active.id, None) is None:
            return
        if active.timer is not None:
            active.timer.cancel()
        self.events.publish(FaultEnded(self.name, self._clock.monotonic(), active.id, reason))
        self._changed()

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()
