"""The stale-if-error cache: the last good answer instead of an error, for as long as it is worth something.

In the terms of RFC 5861: an answer is fresh for `max_age` seconds, and for `stale_if_error` more it may stand in for a
call that failed. Only calls that have a key are kept; what the key leaves out, two calls must not differ in.

    await pipeline.call(read_stock, sku, cache_key=("stock", sku))

A kept answer is handed to everybody as it is: nobody may change it.
"""

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Hashable
from dataclasses import dataclass
from typing import Any

from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.events import EventBus, StaleAnswered
from shared.resilience.flights import Flights
from shared.resilience.invocation import Invocation, Step
from shared.resilience.results import is_failure
from shared.resilience.settings import CacheConfig


@dataclass(frozen=True, slots=True)
class CacheSnapshot:
    """A cache at one moment, and totals.

    fresh, stale: answers from the cache, without a call and after one that failed
    missed:       calls that failed and found nothing to answer with
    shared:       calls that were answered by another one with the same key
    """

    name: str
    entries: int
    fresh: int
    stale: int
    missed: int
    shared: int


class Cache:
    """The answers of one pipeline, by key; the one that was not used for the longest time leaves first."""

    def __init__(
        self,
        name: str,
        config: CacheConfig | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        events: EventBus | None = None,
    ) -> None:
        self.name = name
        self.events = events or EventBus()
        self._clock = clock
        self._now = clock.monotonic
        # The answer, and when it came.
        self._entries: OrderedDict[Hashable, tuple[Any, float]] = OrderedDict()
        self._flights = Flights(clock)
        self._counts: Counter[str] = Counter()
        self.reconfigure(config or CacheConfig())

    def reconfigure(self, config: CacheConfig) -> None:
        """Use `config` from now on; answers that it leaves room for stay."""
        self.config = config
        self._keep = config.max_age + config.stale_if_error
        self._stale_on = config.stale_exceptions or (Exception,)
        while len(self._entries) > config.max_entries:
            self._entries.popitem(last=False)

    def run(self, inner: Step, invocation: Invocation) -> Awaitable[Any]:
        """Call, and keep the answer; when the call fails, answer with what was kept. Without a key: just call."""
        key = invocation.cache_key
        if key is None and self.config.key is not None:
            key = self.config.key(*invocation.args, **invocation.kwargs)
        return inner(invocation) if key is None else self._through(inner, invocation, key)

    def forget(self, key: Hashable | None = None) -> None:
        """Drop the answer under `key`; None: all of them. Harmless when there is none."""
        if key is None:
            self._entries.clear()
        else:
            self._entries.pop(key, None)

    def snapshot(self) -> CacheSnapshot:
        """The cache now. Answers that are too old count until somebody asks for them or they are displaced."""
        counts = self._counts
        shared = self._flights.shared
        return CacheSnapshot(self.name, len(self._entries), counts["fresh"], counts["stale"], counts["missed"], shared)

    async def _through(self, inner: Step, invocation: Invocation, key: Hashable) -> Any:
        config = self.config
        if config.serve_fresh and (kept := self._kept(key, config.max_age)) is not None:
            self._counts["fresh"] += 1
            return kept[0]
        try:
            if config.single_flight:
                result, came = await self._flights.join(inner, invocation, key)
            else:
                result, came = await inner(invocation), self._now()
        except config.ignore_exceptions:
            raise
        except self._stale_on as error:
            kept = self._instead(key, error)
            if kept is None:
                raise
            return kept[0]
        if config.stale_on_result is not None and is_failure(
            config.stale_on_result, result, f"stale_on_result of {self.name}"
        ):
            kept = self._instead(key, None)
            return result if kept is None else kept[0]
        self._store(key, result, came)
        return result

    def _instead(self, key: Hashable, cause: Exception | None) -> tuple[Any, float] | None:
        kept = self._kept(key, self._keep)
        if kept is None:
            self._counts["missed"] += 1
            return None
        self._counts["stale"] += 1
        now = self._now()
        self.events.publish(StaleAnswered(self.name, now, now - kept[1], cause))
        return kept

    def _kept(self, key: Hashable, longest: float) -> tuple[Any, float] | None:
        """The answer under `key` if it is younger than `longest` seconds; one that nobody may have any more goes."""
        kept = self._entries.get(key)
        if kept is None:
            return None
        age = self._now() - kept[1]
        if age >= self._keep:
            del self._entries[key]
        if age >= longest:
            return None
        self._entries.move_to_end(key)
        return kept

    def _store(self, key: Hashable, result: Any, came: float) -> None:
        if self._keep <= 0:
            return
        earlier = self._entries.get(key)
        # Of two calls that overlap, the answer that came last is the news.
        if earlier is not None and earlier[1] > came:
            return
        self._entries[key] = (result, came)
        self._entries.move_to_end(key)
        if len(self._entries) > self.config.max_entries:
            self._entries.popitem(last=False)
