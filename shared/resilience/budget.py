"""The retry budget of one dependency, shared by its retries and hedges.

Retries multiply load exactly when a dependency has least to spare. Two limits hold them, and both must agree:

- at most `max(floor, ratio * active calls)` repeats at a time, as Envoy's retry budget;
- a token bucket, gRPC proposal A6: a failure takes one token, a success gives `token_ratio` back, and at or below half
  of the bucket nothing is repeated.
"""

from dataclasses import dataclass
from typing import Any

from shared.resilience.errors import ResilienceError
from shared.resilience.invocation import Invocation, Step
from shared.resilience.settings import BudgetConfig


@dataclass(frozen=True, slots=True)
class BudgetSnapshot:
    """A budget at one moment. `limit` is how many repeats may be active now; `granted` and `refused` are totals.

    enforced: it refuses; else it only counts
    """

    name: str
    active_calls: int
    active_retries: int
    limit: float
    tokens: float
    granted: int
    refused: int
    enforced: bool = True


class RetryBudget:
    """The budget called `name`. It belongs to one event loop.

    enforced: switched off, every repeat is granted; whoever draws on the budget is as free as without one
    """

    def __init__(self, name: str, config: BudgetConfig | None = None) -> None:
        self.name = name
        self.enforced = True
        self._use(config or BudgetConfig())
        self._tokens = self._max_tokens
        self._active_calls = 0
        self._active_retries = 0
        self._granted = 0
        self._refused = 0

    def reconfigure(self, config: BudgetConfig) -> None:
        """Use `config` from now on. The bucket is as full as it was, in proportion."""
        share = self._tokens / self._max_tokens
        self._use(config)
        self._tokens = share * self._max_tokens

    def _use(self, config: BudgetConfig) -> None:
        self.config = config
        self._max_tokens = config.max_tokens
        self._token_ratio = config.token_ratio

    def try_acquire(self) -> bool:
        """Ask for one repeat, from now until `release`. False: not now."""
        exhausted = self._active_retries + 1 > self._limit() or self._tokens <= self._max_tokens / 2
        if exhausted and self.enforced:
            self._refused += 1
            return False
        self._active_retries += 1
        self._granted += 1
        return True

    def release(self) -> None:
        """A granted repeat is over, or did not take place."""
        self._active_retries = max(0, self._active_retries - 1)

    def on_success(self) -> None:
        """An attempt succeeded."""
        self._tokens = min(self._max_tokens, self._tokens + self._token_ratio)

    def on_failure(self) -> None:
        """An attempt failed in a way that is worth repeating."""
        self._tokens = max(0.0, self._tokens - 1)

    def refill(self) -> None:
        """Fill the bucket, as at the start."""
        self._tokens = self._max_tokens

    async def count(self, inner: Step, invocation: Invocation) -> Any:
        """Count the call as active while it runs. A retry inside reports the outcomes of its attempts by itself."""
        self._active_calls += 1
        try:
            return await inner(invocation)
        finally:
            self._active_calls -= 1

    async def count_and_report(self, inner: Step, invocation: Invocation) -> Any:
        """As `count`, for a pipeline without retry: the call's outcome is an attempt's outcome."""
        self._active_calls += 1
        try:
            result = await inner(invocation)
        except Exception as error:
            if not isinstance(error, ResilienceError) or error.attempted:
                self.on_failure()
            raise
        else:
            self.on_success()
            return result
        finally:
            self._active_calls -= 1

    def snapshot(self) -> BudgetSnapshot:
        """The budget now."""
        return BudgetSnapshot(
            name=self.name,
            active_calls=self._active_calls,
            active_retries=self._active_retries,
            limit=self._limit(),
            tokens=self._tokens,
            granted=self._granted,
            refused=self._refused,
            enforced=self.enforced,
        )

    def _limit(self) -> float:
        return max(self.config.floor, self.config.ratio * self._active_calls)
