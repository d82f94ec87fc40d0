"""Retry: try again what is safe to repeat, as long as the caller waits and the budget allows it.

The first attempt costs next to nothing; everything else happens after a first failure.
"""

import math
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

from tenacity.wait import wait_base

from shared.resilience.backoff import Backoff
from shared.resilience.budget import RetryBudget
from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.errors import DeadlineExceeded, ResilienceError
from shared.resilience.events import EventBus, RetryRefused, RetryScheduled, RetrySucceeded
from shared.resilience.invocation import ATTEMPT, Invocation, Step
from shared.resilience.mode import MODE
from shared.resilience.results import is_failure
from shared.resilience.settings import RetryConfig

_PUSHED_BACK = -1.0


@dataclass(frozen=True, slots=True)
class RetrySnapshot:
    """Calls since the start by outcome, and `attempts`: how many repeats were made."""

    name: str
    successful_without_retry: int
    successful_with_retry: int
    failed_without_retry: int
    failed_with_retry: int
    attempts: int


@dataclass(slots=True)
class _Outcome:
    """How an attempt ended: an error, or a result (`error` is None) that may be a failure as well."""

    error: Exception | None
    result: Any
    worth_repeating: bool


def push_back(failure: Any) -> float | None:
    """Seconds that the server asks to wait: `retry_after` of the error, or of the result. None: it says nothing.

    Negative: do not try again; what cannot be read as a number of seconds means that too (gRPC proposal A6).
    """
    value = getattr(failure, "retry_after", None)
    if value is None:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return _PUSHED_BACK
    return seconds if math.isfinite(seconds) and seconds >= 0 else _PUSHED_BACK


class Retry:
    """The retry policy of one pipeline.

    budget:   asked before every repeat
    strategy: one of tenacity's wait strategies in place of the exponential one from the settings
    """

    def __init__(
        self,
        name: str,
        config: RetryConfig | None = None,
        *,
        budget: RetryBudget | None = None,
        strategy: wait_base | None = None,
        clock: Clock = SYSTEM_CLOCK,
        random: Random | None = None,
        events: EventBus | None = None,
    ) -> None:
        self.name = name
        self._random = random or Random()  # noqa: S311 - jitter, not a secret
        self._strategy = strategy
        self.reconfigure(config or RetryConfig())
        self.budget = budget or RetryBudget(name)
        self.events = events or EventBus()
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._first_time = 0
        self._attempts = 0

    def reconfigure(self, config: RetryConfig) -> None:
        """Use `config` from now on, also for the next attempt of a call under way."""
        self.config = config
        self._backoff = Backoff(config, self._random, self._strategy)
        self._retry_on_result = config.retry_on_result

    async def run(self, inner: Step, invocation: Invocation) -> Any:
        """Call, and repeat while that helps. Raises the last error; returns the last result, even a failing one."""
        try:
            result = await inner(invocation)
        except Exception as error:  # noqa: BLE001 - raised again by _repeat
            outcome = _Outcome(error, None, self.is_worth_repeating(error))
        else:
            if self._retry_on_result is None or not self._is_failure(result):
                self._first_time += 1
                self.budget.on_success()
                return result
            outcome = _Outcome(None, result, worth_repeating=True)
        return await self._repeat(inner, invocation, outcome)

    def is_worth_repeating(self, error: Exception) -> bool:
        """Whether another attempt may end differently.

        Not for what was refused before it was sent, and not when the caller's time is over.
        """
        if isinstance(error, DeadlineExceeded) or (isinstance(error, ResilienceError) and not error.attempted):
            return False
        if isinstance(error, self.config.ignore_exceptions):
            return False
        return not self.config.retry_exceptions or isinstance(error, self.config.retry_exceptions)

    def _is_failure(self, result: Any) -> bool:
        predicate = self._retry_on_result
        return predicate is not None and is_failure(predicate, result, f"retry_on_result of {self.name}")

    async def _repeat(self, inner: Step, invocation: Invocation, outcome: _Outcome) -> Any:
        attempts = 1
        wait = 0.0
        base = ATTEMPT.get()
        while outcome.worth_repeating:
            self.budget.on_failure()
            wait = self._next_wait(attempts, outcome, wait)
            refusal = self._refusal(invocation, attempts, wait)
            if refusal is not None:
                self._note(outcome.error, attempts, refusal)
                break
            try:
                self.events.publish(RetryScheduled(self.name, self._now(), attempts + 1, wait, outcome.error))
                await self._clock.sleep(wait)
                attempts += 1
                self._attempts += 1
                outcome = await self._attempt(inner, invocation, base + attempts - 1, outcome.error)
            finally:
                self.budget.release()
        return self._finish(outcome, attempts)

    async def _attempt(self, inner: Step, invocation: Invocation, number: int, previous: Exception | None) -> _Outcome:
        token = ATTEMPT.set(number)
        try:
            result = await inner(invocation)
        except Exception as error:  # noqa: BLE001 - raised again by _finish
            # "Breaker open" alone would hide what opened it.
            if previous is not None and error is not previous and error.__cause__ is None:
                error.__cause__ = previous
            return _Outcome(error, None, self.is_worth_repeating(error))
        else:
            return _Outcome(None, result, self._is_failure(result))
        finally:
            ATTEMPT.reset(token)

    def _next_wait(self, attempts: int, outcome: _Outcome, previous: float) -> float:
        asked = push_back(outcome.result if outcome.error is None else outcome.error)
        if asked == _PUSHED_BACK:
            return _PUSHED_BACK
        if not MODE.wait:
            return 0.0
        return max(self._backoff.wait(attempts, outcome.error, previous), asked or 0.0)

    def _refusal(self, invocation: Invocation, attempts: int, wait: float) -> str | None:
        """Why there is no further attempt; None: there is one, and the budget has been drawn on."""
        if attempts >= self._max_attempts():
            return "attempts"
        if not invocation.idempotent:
            return "not_idempotent"
        if wait < 0 or wait > max(self.config.max_retry_after, self.config.max_wait):
            return "push_back"
        if self._now() + wait >= invocation.deadline:
            return "deadline"
        return None if self.budget.try_acquire() else "budget"

    def _max_attempts(self) -> int:
        return MODE.attempts_of(self.config.max_attempts)

    def _note(self, error: Exception | None, attempts: int, reason: str) -> None:
        self.events.publish(RetryRefused(self.name, self._now(), attempts, reason, error))
        if error is not None:
            note = f"{self.name}: {attempts} of {self._max_attempts()} attempts made; no more because of: {reason}"
            # An error object that is raised twice (a cached one, say) shall not collect notes for ever.
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)

    def _finish(self, outcome: _Outcome, attempts: int) -> Any:
        good = outcome.error is None and not outcome.worth_repeating
        retried = "with_retry" if attempts > 1 else "without_retry"
        self._counts[f"{'successful' if good else 'failed'}_{retried}"] += 1
        if outcome.error is not None:
            raise outcome.error
        if good:
            self.budget.on_success()
            self.events.publish(RetrySucceeded(self.name, self._now(), attempts))
        return outcome.result

    def _now(self) -> float:
        return self._clock.monotonic()

    def snapshot(self) -> RetrySnapshot:
        """The counts so far."""
        return RetrySnapshot(
            name=self.name,
            successful_without_retry=self._first_time,
            successful_with_retry=self._counts["successful_with_retry"],
            failed_without_retry=self._counts["failed_without_retry"],
            failed_with_retry=self._counts["failed_with_retry"],
            attempts=self._attempts,
        )
