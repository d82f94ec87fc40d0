"""Hedging: when the first attempt is late, start another beside it, and take whichever answers first.

After "The Tail at Scale" (Dean and Barroso, 2013). Only for what is safe to repeat, and only while the retry budget of
the dependency allows: a hedge is load that a slow dependency did not ask for.

The first attempt runs in the caller's own task, so that an answer in time costs one timer and no task.
"""

import asyncio
from collections.abc import Awaitable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from shared.resilience.alarms import Alarms
from shared.resilience.budget import RetryBudget
from shared.resilience.clock import SYSTEM_CLOCK, Clock, Timer
from shared.resilience.errors import ResilienceError
from shared.resilience.events import EventBus, HedgeRefused, HedgeStarted, HedgeWon
from shared.resilience.invocation import ATTEMPT, Invocation, Step
from shared.resilience.settings import HedgeConfig


@dataclass(frozen=True, slots=True)
class HedgeSnapshot:
    """Hedges since the start: begun, answered first, failed, and refused by the budget."""

    name: str
    started: int
    won: int
    failed: int
    refused: int


class Hedge:
    """The hedging policy of one pipeline. `budget` is asked before every hedge."""

    def __init__(
        self,
        name: str,
        config: HedgeConfig,
        *,
        budget: RetryBudget | None = None,
        clock: Clock = SYSTEM_CLOCK,
        events: EventBus | None = None,
    ) -> None:
        self.name = name
        self.config = config
        self.budget = budget or RetryBudget(name)
        self.events = events or EventBus()
        self.clock = clock
        self.alarms = Alarms(config.delay, clock)
        self.started = self.won = self.failed = self.refused = 0

    def reconfigure(self, config: HedgeConfig) -> None:
        """Use `config` for the calls that begin from now on."""
        # Those under way keep their alarms: alarms of one queue have one delay.
        if config.delay != self.config.delay:
            self.alarms = Alarms(config.delay, self.clock)
        self.config = config

    def run(self, inner: Step, invocation: Invocation) -> Awaitable[Any]:
        """Call; after the delay, call again beside it. What may not be repeated passes straight through.

        The first answer wins. An error counts only when no attempt is left: then the first attempt's is raised.
        """
        if not invocation.idempotent:
            return inner(invocation)
        return self._race(inner, invocation)

    async def _race(self, inner: Step, invocation: Invocation) -> Any:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("hedging needs a task to cancel")
        cancelling = task.cancelling()
        race = _Race(self, inner, invocation, task)
        try:
            result = await inner(invocation)
        except asyncio.CancelledError:
            # Ours to swallow only if a hedge won and nobody else asked for cancellation too.
            if not race.cancelled_first or task.uncancel() > cancelling:
                raise
            return race.answer()
        except Exception as error:
            if race.cancelled_first:
                task.uncancel()
                return race.answer()
            if not race.hedges:
                raise
            return await race.remaining_answer(error)
        else:
            if race.cancelled_first:
                task.uncancel()
            return result
        finally:
            race.close()
            if race.hedges:
                await race.dismiss()

    def snapshot(self) -> HedgeSnapshot:
        """The counts so far."""
        return HedgeSnapshot(self.name, self.started, self.won, self.failed, self.refused)


class _Race:
    """The attempts of one call."""

    __slots__ = (
        "_closed",
        "_context",
        "_inner",
        "_invocation",
        "_policy",
        "_task",
        "_timer",
        "_winner",
        "cancelled_first",
        "hedges",
    )

    def __init__(self, policy: Hedge, inner: Step, invocation: Invocation, task: "asyncio.Task[Any]") -> None:
        self._policy = policy
        self._inner = inner
        self._invocation = invocation
        self._task = task
        self._closed = False
        self._winner: asyncio.Task[Any] | None = None
        self.cancelled_first = False
        self.hedges: list[asyncio.Task[Any]] = []
        # An alarm rings in no particular context; a hedge has to run in the caller's.
        self._context = copy_context()
        self._timer = self._set_alarm()

    def close(self) -> None:
        """No hedge starts any more, and none interferes with the caller's task."""
        self._closed = True
        self._timer.cancel()

    def answer(self) -> Any:
        """The hedge's result, which ended the first attempt."""
        if self._winner is None:
            raise RuntimeError("no hedge has answered")
        return self._winner.result()

    async def remaining_answer(self, error: Exception) -> Any:
        """The first result among the hedges, now that the first attempt failed with `error`. All failed: `error`."""
        self.close()
        running = set(self.hedges)
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for hedge in done:
                if not hedge.cancelled() and hedge.exception() is None:
                    self._win(hedge)
                    # A hedge hides the first attempt's failure from the retry, which would have reported it.
                    self._policy.budget.on_failure()
                    return hedge.result()
        raise error

    async def dismiss(self) -> None:
        """Cancel the losers and wait until they are gone, with their permits given back."""
        for hedge in self.hedges:
            hedge.cancel()
        await asyncio.gather(*self.hedges, return_exceptions=True)

    def _set_alarm(self) -> Timer:
        policy = self._policy
        return policy.alarms.set(policy.clock.monotonic(), self._ring, self._task.get_loop())

    def _ring(self) -> None:
        self._context.run(self._start)

    def _start(self) -> None:
        policy = self._policy
        now = policy.clock.monotonic()
        if self._closed or now >= self._invocation.deadline:
            return
        if not policy.budget.try_acquire():
            policy.refused += 1
            policy.events.publish(HedgeRefused(policy.name, now, "budget"))
            return
        policy.started += 1
        number = ATTEMPT.get() + len(self.hedges) + 1
        hedge = asyncio.get_running_loop().create_task(self._attempt(number))
        # A callback, because a task that is cancelled before its first step runs no `finally`.
        hedge.add_done_callback(self._on_done)
        self.hedges.append(hedge)
        policy.events.publish(HedgeStarted(policy.name, now, number))
        if len(self.hedges) < policy.config.max_hedges:
            self._timer = self._set_alarm()

    async def _attempt(self, number: int) -> Any:
        # The task has a context of its own, so there is nothing to restore.
        ATTEMPT.set(number)
        return await self._inner(self._invocation)

    def _on_done(self, hedge: "asyncio.Task[Any]") -> None:
        policy = self._policy
        policy.budget.release()
        if hedge.cancelled():
            return
        error = hedge.exception()
        if error is not None:
            policy.failed += 1
            if not isinstance(error, ResilienceError) or error.attempted:
                policy.budget.on_failure()
        elif not self._closed and self._winner is None:
            self._win(hedge)
            self.cancelled_first = True
            self.close()
            self._task.cancel()

    def _win(self, hedge: "asyncio.Task[Any]") -> None:
        policy = self._policy
        self._winner = hedge
        policy.won += 1
        policy.events.publish(HedgeWon(policy.name, policy.clock.monotonic(), self.hedges.index(hedge) + 2))
