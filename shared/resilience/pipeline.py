"""The pipeline: the layers of one dependency, in one order.

    deadline -> fallback -> cache -> retry (with its budget) -> hedge -> circuit breaker -> rate limiter -> bulkhead
        -> attempt timeout -> faults -> call

    answer = await pipeline.call(client.charge, order, idempotent=True, fallback=queue_for_later)

    @pipeline
    async def charge(order): ...

A layer that is switched off is not in the chain at all, so it costs nothing.
"""

import inspect
from collections.abc import Awaitable, Callable, Collection, Hashable
from functools import partial, wraps
from random import Random
from typing import Any, ParamSpec, TypedDict, TypeVar

from tenacity.wait import wait_base

from shared.resilience.adaptive_bulkhead import AdaptiveBulkhead
from shared.resilience.budget import RetryBudget
from shared.resilience.bulkhead import Bulkhead
from shared.resilience.cache import Cache
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.deadline import Deadline
from shared.resilience.errors import SyncCallableError
from shared.resilience.events import Event, EventBus, LayerSwitched, Listener
from shared.resilience.fallback import Fallback, FallbackLayer, Fallbacks
from shared.resilience.faults import Faults
from shared.resilience.hedge import Hedge
from shared.resilience.invocation import Invocation, Step, attempt
from shared.resilience.rate_limiter import RateLimiter
from shared.resilience.retry import Retry
from shared.resilience.settings import (
    AdaptiveBulkheadConfig,
    BulkheadConfig,
    CacheConfig,
    CircuitBreakerConfig,
    HedgeConfig,
    RateLimiterConfig,
    RetryConfig,
)
from shared.resilience.timeout import Timeout

T = TypeVar("T")
P = ParamSpec("P")

# From the outside in.
ORDER = (
    "deadline",
    "fallback",
    "cache",
    "retry",
    "hedge",
    "circuit_breaker",
    "rate_limiter",
    "bulkhead",
    "timeout",
    "faults",
)

# The layers that a pipeline shares with nobody, and that a configuration can add or take away.
_OWN_LAYERS = frozenset(ORDER) - {"deadline", "fallback", "circuit_breaker", "timeout", "faults"}
# Exactly these, and only into their own kind: a fixed bulkhead does not become an adaptive one.
_RECONFIGURABLE = (Cache, Retry, Hedge, RateLimiter, Bulkhead, AdaptiveBulkhead)


class _Shared(TypedDict):
    clock: Clock
    events: EventBus


class Pipeline:
    """Guards the calls to one dependency.

    Every layer is optional. `circuit_breaker` and `budget` may be shared between pipelines; a retry or a hedge without
    a budget of the dependency gets one of its own.

    deadline: seconds for a whole call with its retries
    timeout:  seconds for one attempt
    backoff:  one of tenacity's wait strategies, in place of the one that `retry` describes
    """

    def __init__(
        self,
        name: str,
        *,
        deadline: float | None = None,
        fallbacks: tuple[Fallback[Any], ...] = (),
        cache: CacheConfig | None = None,
        retry: RetryConfig | None = None,
        backoff: wait_base | None = None,
        budget: RetryBudget | None = None,
        hedge: HedgeConfig | None = None,
        circuit_breaker: CircuitBreaker | CircuitBreakerConfig | None = None,
        rate_limiter: RateLimiterConfig | None = None,
        bulkhead: BulkheadConfig | AdaptiveBulkheadConfig | None = None,
        timeout: float | None = None,
        idempotent: bool = False,
        clock: Clock = SYSTEM_CLOCK,
        random: Random | None = None,
    ) -> None:
        self.name = name
        self.idempotent = idempotent
        self.events = EventBus()
        self._clock = clock
        if isinstance(circuit_breaker, CircuitBreakerConfig):
            circuit_breaker = CircuitBreaker(name, circuit_breaker, clock=clock)
        if budget is None and (retry or hedge):
            budget = RetryBudget(name)
        self.budget = budget
        self.circuit_breaker = circuit_breaker
        own = _Shared(clock=clock, events=self.events)
        self.deadline = Deadline(name, deadline, clock=clock)
        self.fallback = FallbackLayer(name, fallbacks, **own)
        self.cache = Cache(name, cache, **own) if cache else None
        self.retry = Retry(name, retry, budget=budget, strategy=backoff, random=random, **own) if retry else None
        self.hedge = Hedge(name, hedge, budget=budget, **own) if hedge else None
        self.rate_limiter = RateLimiter(name, rate_limiter, **own) if rate_limiter else None
        self.bulkhead = _bulkhead(name, bulkhead, own) if bulkhead else None
        self.timeout = Timeout(name, timeout, **own)
        # Holds attempts to the caller's deadline when there is no timeout, or when it is switched off.
        self._deadline_only = Timeout(name, None, **own)
        self.faults = Faults(name, random=random, on_change=self._rebuild, **own)
        self._runs = self._present()
        self._enabled = dict.fromkeys(self._runs, True)
        self._chain = self._build()

    async def call(
        self,
        fn: Callable[..., Awaitable[T]],
        *args: Any,
        idempotent: bool | None = None,
        fallback: Fallbacks[T] | None = None,
        cache_key: Hashable | None = None,
        **kwargs: Any,
    ) -> T:
        """Await `fn(*args, **kwargs)` behind all layers that are on.

        idempotent: safe to repeat; None: as set for the pipeline
        fallback:   awaited with the error, to answer in the place of `fn`
        cache_key:  what the answer is kept under, if the pipeline has a cache

        Raises what `fn` raised, or a ResilienceError.
        """
        safe = self.idempotent if idempotent is None else idempotent
        invocation = Invocation(fn, args, kwargs, idempotent=safe, fallback=fallback, cache_key=cache_key)
        result: T = await self._chain(invocation)
        return result

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Guard a coroutine function. SyncCallableError: it is a plain one."""
        if not inspect.iscoroutinefunction(fn):
            raise SyncCallableError(fn)

        @wraps(fn)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            result: T = await self._chain(Invocation(fn, args, kwargs, idempotent=self.idempotent))
            return result

        return guarded

    @property
    def layers(self) -> dict[str, bool]:
        """The layers that this pipeline has, from the outside in, and whether each is on."""
        return dict(self._enabled)

    def switch(self, layer: str, enabled: bool) -> None:
        """Turn a layer on or off for the calls that begin from now on. ValueError: the pipeline has no such layer."""
        if layer not in self._enabled:
            raise ValueError(f"pipeline {self.name!r} has no layer {layer!r}, only: {', '.join(self._enabled)}")
        self._enabled[layer] = enabled
        self._rebuild()
        self.events.publish(LayerSwitched(self.name, self._clock.monotonic(), layer, enabled))

    def adopt(self, other: "Pipeline", changed: Collection[str]) -> None:
        """Be configured as `other`, which nobody has used, for the calls that begin from now on.

        Only the layers in `changed` are touched, and one that can take other settings keeps what it knows: slots that
        are taken, counts. Switches stay, and a call under way stays in the layers that it is in.
        """
        self.idempotent = other.idempotent
        self.deadline.seconds = other.deadline.seconds
        self.circuit_breaker = other.circuit_breaker
        if other.timeout.duration != self.timeout.duration:
            self.timeout.reconfigure(other.timeout.duration)
        # A repeat gives back to the budget that it has drawn on, so another budget takes another retry and hedge.
        drawing = set() if self.budget is other.budget else {"retry", "hedge"}
        self.budget = other.budget
        for layer in (set(changed) | drawing) & _OWN_LAYERS:
            ours, theirs = getattr(self, layer), getattr(other, layer)
            if type(ours) is type(theirs) and type(ours) in _RECONFIGURABLE and layer not in drawing:
                ours.reconfigure(theirs.config)
            else:
                setattr(self, layer, theirs)
                if theirs is not None:
                    theirs.events = self.events
        self._runs = self._present()
        self._enabled = {layer: self._enabled.get(layer, True) for layer in self._runs}
        self._rebuild()

    def subscribe(self, listener: Listener, *kinds: type[Event]) -> Callable[[], None]:
        """Hear of this pipeline's events and its breaker's (`kinds` empty: of all). Returns what ends it."""
        ends = [bus.subscribe(listener, *kinds) for bus in self._buses()]

        def end() -> None:
            for end_one in ends:
                end_one()

        return end

    def recent_events(self) -> list[Event]:
        """The last events of this pipeline and of its breaker, oldest first."""
        return EventBus.merged(self._buses())

    def _buses(self) -> list[EventBus]:
        return [self.events, self.circuit_breaker.events] if self.circuit_breaker else [self.events]

    def _present(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        """What runs each layer that this pipeline has, from the outside in."""
        runs: dict[str, Callable[..., Awaitable[Any]] | None] = {
            "deadline": self.deadline.run,
            "fallback": self.fallback.run,
            "cache": self.cache.run if self.cache is not None else None,
            "retry": self.retry.run if self.retry is not None else None,
            "hedge": self.hedge.run if self.hedge is not None else None,
            "circuit_breaker": self.circuit_breaker.call if self.circuit_breaker is not None else None,
            "rate_limiter": self.rate_limiter.run if self.rate_limiter is not None else None,
            "bulkhead": self.bulkhead.run if self.bulkhead is not None else None,
            "timeout": self.timeout.run if self.timeout.duration is not None else None,
            "faults": self.faults.run,
        }
        return {layer: run for layer in ORDER if (run := runs[layer]) is not None}

    def _rebuild(self) -> None:
        self._chain = self._build()

    def _build(self) -> Step:
        """The chain of the layers that are on, from the call outwards."""
        enabled = self._enabled
        step: Step = attempt
        self.timeout.propagate = enabled["deadline"]
        self.faults.allowed = enabled["faults"]
        for layer in reversed(ORDER):
            if layer == "cache":
                # What the cache answers by itself is no call to the dependency.
                step = self._counted(step)
            if layer == "timeout" and enabled["deadline"] and not enabled.get("timeout"):
                step = partial(self._deadline_only.run, step)
            elif enabled.get(layer) and (layer != "faults" or self.faults.active):
                step = partial(self._runs[layer], step)
        return step

    def _counted(self, step: Step) -> Step:
        """`step` with its calls counted for the budget, if anything draws on it."""
        if self.budget is None:
            return step
        if self._enabled.get("retry"):
            return partial(self.budget.count, step)
        return partial(self.budget.count_and_report, step) if self._enabled.get("hedge") else step


def _bulkhead(name: str, config: BulkheadConfig | AdaptiveBulkheadConfig, own: _Shared) -> Bulkhead:
    if isinstance(config, AdaptiveBulkheadConfig):
        return AdaptiveBulkhead(name, config, **own)
    return Bulkhead(name, config, **own)
