"""The adaptive bulkhead: as the fixed one, but nobody has to guess how many calls the dependency takes."""

from typing import Any

from shared.resilience.bulkhead import Bulkhead
from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.errors import DeadlineExceeded, ResilienceError
from shared.resilience.events import EventBus, LimitChanged
from shared.resilience.gradient import Gradient
from shared.resilience.invocation import Invocation, Step
from shared.resilience.settings import AdaptiveBulkheadConfig, BulkheadConfig


class AdaptiveBulkhead(Bulkhead):
    """A bulkhead whose limit follows the latency of the calls that it admits, between `min_limit` and `max_limit`.

    A call that succeeds tells how long the dependency takes, one that ends with one of `drop_exceptions` that it is too
    much. Another error says nothing: a connection that is refused is refused quickly. Neither does a cancelled call.
    """

    def __init__(
        self,
        name: str,
        config: AdaptiveBulkheadConfig,
        *,
        clock: Clock = SYSTEM_CLOCK,
        events: EventBus | None = None,
    ) -> None:
        super().__init__(name, config, clock=clock, events=events)
        self.gradient = Gradient(config, clock.monotonic())
        self._now = clock.monotonic
        self._drops = config.drop_exceptions

    def reconfigure(self, config: BulkheadConfig | AdaptiveBulkheadConfig) -> None:
        """Use `config` from now on. What was learnt stays, within the new limits. TypeError: it is a fixed one's."""
        if not isinstance(config, AdaptiveBulkheadConfig):
            raise TypeError(f"bulkhead {self.name!r} is adaptive")
        self.config = config
        self._drops = config.drop_exceptions
        self.gradient.reconfigure(config)
        self._limit = self.gradient.limit
        self._admit()

    async def run(self, inner: Step, invocation: Invocation) -> Any:
        """Call with a slot held, and learn from how it went. Raises as `Bulkhead.run`."""
        if self._active < self._limit:
            self._active += 1
        else:
            await self.acquire(invocation.deadline)
        start, active = self._now(), self._active
        try:
            result = await inner(invocation)
        except self._drops as error:
            if _says_something(error):
                self._learn(start, active, dropped=True)
            raise
        else:
            self._learn(start, active, dropped=False)
            return result
        finally:
            self._active -= 1
            if self._waiters:
                self._admit()

    def _learn(self, start: float, active: int, *, dropped: bool) -> None:
        now = self._now()
        if not self.gradient.record(now, now - start, max(active, self._active), dropped=dropped):
            return
        before, self._limit = self._limit, self.gradient.limit
        gradient = self.gradient
        self.events.publish(LimitChanged(self.name, now, before, self._limit, gradient.present, gradient.usual))


def _says_something(error: BaseException) -> bool:
    """Whether `error` tells how busy the dependency is: it was asked, and was given its time."""
    if isinstance(error, DeadlineExceeded) and error.impatient:
        return False
    return not isinstance(error, ResilienceError) or error.attempted
