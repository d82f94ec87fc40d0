"""All pipelines of a service, made from its `resilience.yaml`."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from types import MappingProxyType

from shared.resilience.budget import RetryBudget
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.config import ResilienceConfig, load
from shared.resilience.events import ConfigApplied, Event, EventBus, Listener
from shared.resilience.pipeline import Pipeline
from shared.resilience.settings import InstanceConfig


class Registry:
    """Makes every pipeline of the configuration at once, so that a wrong setting stops the start and not a call.

    events:  what concerns all of them: configurations applied and refused
    reloads: how many there were, by outcome: "applied", "refused"
    """

    def __init__(self, config: ResilienceConfig, *, clock: Clock = SYSTEM_CLOCK, random: Random | None = None) -> None:
        self.config = config
        self.events = EventBus()
        self.reloads: Counter[str] = Counter(applied=0, refused=0)
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - jitter, not a secret
        self._budgets: dict[str, RetryBudget] = {}
        self._breakers: dict[str, CircuitBreaker] = {}
        self._pipelines: dict[str, Pipeline] = {}
        self._instances: dict[str, InstanceConfig] = {}
        self._subscriptions: list[_Subscription] = []
        self._use(config)

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
        return MappingProxyType(self._budgets)

    def subscribe(self, listener: Listener, *kinds: type[Event]) -> Callable[[], None]:
        """Hear of the events (`kinds` empty: all) of every pipeline and breaker, and of the registry's own.

        Those that a later configuration adds are heard as well. Returns what ends it.
        """
        subscription = _Subscription(listener, kinds)
        self._subscriptions.append(subscription)
        own = [self.events]
        for bus in own + [p.events for p in self._pipelines.values()] + [b.events for b in self._breakers.values()]:
            subscription.hear(bus)

        def end() -> None:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
            subscription.end()

        return end

    def reload(self, config: ResilienceConfig) -> ConfigApplied | None:
        """Use `config` from now on. None: it says what is in force already.

        Pipelines that were handed out before follow it. Breakers keep their state, and their window if its size is the
        same; budgets, slots and counts stay too. An instance that is no longer there goes on as it was.
        """
        before = {name: self._instances[name] for name in self.config.instances}
        if (config.instances, config.budgets) == (self.config.instances, self.config.budgets):
            self.config = config
            return None
        applied = ConfigApplied(
            str(config.file),
            self._clock.monotonic(),
            changed=tuple(name for name, new in config.instances.items() if name in before and before[name] != new),
            added=tuple(name for name in config.instances if name not in before),
            removed=tuple(name for name in before if name not in config.instances),
        )
        self.config = config
        self._use(config)
        self.reloads["applied"] += 1
        self.events.publish(applied)
        return applied

    def refuse(self, event: Event) -> None:
        """Note a configuration that cannot be used."""
        self.reloads["refused"] += 1
        self.events.publish(event)

    def _use(self, config: ResilienceConfig) -> None:
        for name, budget in config.budgets.items():
            known = self._budgets.setdefault(name, RetryBudget(name, budget))
            if known.config != budget:
                known.reconfigure(budget)
        for name, instance in config.instances.items():
            before = self._instances.get(name)
            if before is None:
                self._pipelines[name] = pipeline = self._make(name, instance)
                self._announce(pipeline.events)
            else:
                changed = [
                    each for each in type(instance).model_fields if getattr(before, each) != getattr(instance, each)
                ]
                self._pipelines[name].adopt(self._make(name, instance), changed)
            self._instances[name] = instance

    def _make(self, name: str, instance: InstanceConfig) -> Pipeline:
        return Pipeline(
            name,
            deadline=instance.deadline,
            cache=instance.cache,
            retry=instance.retry,
            budget=self._budget(name, instance),
            hedge=instance.hedge,
            circuit_breaker=self._breaker(name, instance),
            rate_limiter=instance.rate_limiter,
            bulkhead=instance.bulkhead,
            timeout=None if instance.timeout is None else instance.timeout.duration,
            idempotent=instance.idempotent,
            clock=self._clock,
            random=self._random,
        )

    def _breaker(self, name: str, instance: InstanceConfig) -> CircuitBreaker | None:
        if instance.circuit_breaker is None:
            return None
        key = instance.breaker or name
        breaker = self._breakers.get(key)
        if breaker is None:
            breaker = self._breakers[key] = CircuitBreaker(key, instance.circuit_breaker, clock=self._clock)
            self._announce(breaker.events)
        elif breaker.config != instance.circuit_breaker:
            breaker.reconfigure(instance.circuit_breaker)
        return breaker

    def _budget(self, name: str, instance: InstanceConfig) -> RetryBudget | None:
        # As a breaker is, a budget is the instance's own unless another one is named.
        if instance.budget is not None:
            return self._budgets[instance.budget]
        if instance.retry is None and instance.hedge is None:
            return self._budgets.get(name)
        return self._budgets.setdefault(name, RetryBudget(name))

    def _announce(self, bus: EventBus) -> None:
        for subscription in self._subscriptions:
            subscription.hear(bus)


class _Subscription:
    """One listener, and what ends its hearing of each bus."""

    def __init__(self, listener: Listener, kinds: tuple[type[Event], ...]) -> None:
        self._listener = listener
        self._kinds = kinds
        self._ends: list[Callable[[], None]] = []

    def hear(self, bus: EventBus) -> None:
        self._ends.append(bus.subscribe(self._listener, *self._kinds))

    def end(self) -> None:
        for end in self._ends:
            end()
