"""All pipelines of a service, made from its `resilience.yaml`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from types import MappingProxyType

from shared.resilience.budget import RetryBudget
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.config import ResilienceConfig, load
from shared.resilience.events import Event, Listener
from shared.resilience.pipeline import Pipeline
from shared.resilience.settings import InstanceConfig


class Registry:
    """Makes every pipeline of the configuration at once, so that a wrong setting stops the start and not a call."""

    def __init__(self, config: ResilienceConfig, *, clock: Clock = SYSTEM_CLOCK, random: Random | None = None) -> None:
        self.config = config
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - jitter, not a secret
        self._budgets = {name: RetryBudget(name, budget) for name, budget in config.budgets.items()}
        self._breakers: dict[str, CircuitBreaker] = {}
        self._pipelines = {name: self._make(name, instance) for name, instance in config.instances.items()}

    @classmethod
    def from_file(cls, path: Path, *, clock: Clock = SYSTEM_CLOCK, random: Random | None = None) -> "Registry":
        """Read `path` and make its pipelines. ConfigError: `file:line: reason`."""
        return cls(load(path), clock=clock, random=random)

    def pipeline(self, name: str) -> Pipeline:
        """The pipeline called `name`. KeyError: the configuration has no such instance."""
        try:
            return self._pipelines[name]
        except KeyError:
            known = ", ".join(self._pipelines) or "none"
            raise KeyError(f"no instance {name!r} in {self.config.file}; known are {known}") from None

    @property
    def pipelines(self) -> Mapping[str, Pipeline]:
        """All pipelines by name."""
        return MappingProxyType(self._pipelines)

    @property
    def breakers(self) -> Mapping[str, CircuitBreaker]:
        """All breakers by name, each once however many pipelines share it."""
        return MappingProxyType(self._breakers)

    @property
    def budgets(self) -> Mapping[str, RetryBudget]:
        """All retry budgets by name."""
        own = {p.budget.name: p.budget for p in self._pipelines.values() if p.budget is not None}
        return MappingProxyType({**self._budgets, **own})

    def subscribe(self, listener: Listener, *kinds: type[Event]) -> Callable[[], None]:
        """Hear of the events (`kinds` empty: all) of every pipeline and breaker. Returns what ends it."""
        buses = [p.events for p in self._pipelines.values()] + [b.events for b in self._breakers.values()]
        ends = [bus.subscribe(listener, *kinds) for bus in buses]

        def end() -> None:
            for end_one in ends:
                end_one()

        return end

    def _make(self, name: str, instance: InstanceConfig) -> Pipeline:
        breaker = None
        if instance.circuit_breaker is not None:
            key = instance.breaker or name
            breaker = self._breakers.get(key)
            if breaker is None:
                breaker = self._breakers[key] = CircuitBreaker(key, instance.circuit_breaker, clock=self._clock)
        # As a breaker is, a budget is the instance's own unless another one is named.
        budget = self._budgets[instance.budget] if instance.budget is not None else self._budgets.get(name)
        return Pipeline(
            name,
            deadline=instance.deadline,
            cache=instance.cache,
            retry=instance.retry,
            budget=budget,
            hedge=instance.hedge,
            circuit_breaker=breaker,
            rate_limiter=instance.rate_limiter,
            bulkhead=instance.bulkhead,
            timeout=None if instance.timeout is None else instance.timeout.duration,
            idempotent=instance.idempotent,
            clock=self._clock,
            random=self._random,
        )
