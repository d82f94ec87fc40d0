"""Replicas that tell each other when a breaker opens, so that each need not find out by failing calls of its own.

    shared = SharedBreakers(registry, store, origin="order-1")
    asyncio.create_task(shared.run())

Off the hot path: a breaker publishes its state after a transition, in the background, and a replica follows an opening
for the wait that remains. It does not follow a closing: whether the dependency answers *this* replica is for its own
trial calls to find out. The store being away or slow changes nothing but that.

What is shared is a remaining duration, never an instant: clocks differ, durations do not. An opening that was followed
is not published again, so nothing goes in circles.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from shared.resilience.circuit_breaker import CircuitBreaker, State, rules
from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.events import Event, OpeningFollowed, StateTransition
from shared.resilience.registry import Registry

logger = logging.getLogger("holdfast.resilience")

_PUBLISH_SECONDS = 5.0
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 5.0
# Less is over before the news has gone round.
_SHORTEST_FOLLOWED = 0.05
_FOLLOWING = frozenset({State.CLOSED, State.HALF_OPEN})


@dataclass(frozen=True, slots=True)
class SharedState:
    """What a replica says of its breaker.

    origin:    the replica
    state:     as in the metrics: "open", "closed", ...
    remaining: seconds that it stays so, counted from when this is handed over; 0 when that is not known
    """

    breaker: str
    origin: str
    state: str
    remaining: float


class TransitionStore(Protocol):
    """Where replicas leave the states of their breakers, the last of each replica and breaker."""

    async def publish(self, state: SharedState) -> None:
        """Store it. Any Exception: it could not be stored; it is tried again, with what remains by then."""

    def watch(self) -> AsyncIterator[SharedState]:
        """What is stored, then what is published, each with what remains of it now; may end or raise at any time."""


class SharedBreakers:
    """Shares the breakers of `registry`, by name, with every other replica that uses the same store.

    origin: the name of this replica; its own words are not followed
    """

    def __init__(self, registry: Registry, store: TransitionStore, *, origin: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self._registry = registry
        self._store = store
        self._origin = origin
        self._clock = clock
        # Breakers whose state is to be published: at most one entry each, however often they move meanwhile.
        self._unpublished: dict[str, None] = {}
        self._news = asyncio.Event()
        self._following = False

    async def run(self) -> None:
        """Share until cancelled."""
        end = self._registry.subscribe(self._note, StateTransition)
        # What the store has under this replica's name is from the life before this one.
        self._unpublished = dict.fromkeys(self._registry.breakers)
        self._news.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._publish())
                tasks.create_task(self._follow())
        finally:
            end()

    def _note(self, event: Event) -> None:
        if not self._following:
            self._unpublished[event.name] = None
            self._news.set()

    # -- telling -------------------------------------------------------------------------------------------------

    async def _publish(self) -> None:
        troubles = _Troubles("publish", self._clock)
        while True:
            await self._news.wait()
            self._news.clear()
            while self._unpublished:
                name = next(iter(self._unpublished))
                del self._unpublished[name]
                try:
                    async with asyncio.timeout(_PUBLISH_SECONDS):
                        await self._store.publish(self._state_of(self._registry.breakers[name]))
                except Exception as error:  # noqa: BLE001 - whatever a store raises, it is only the store
                    self._unpublished.setdefault(name)
                    await troubles.wait(error)
                else:
                    troubles.over()

    def _state_of(self, breaker: CircuitBreaker) -> SharedState:
        remaining = breaker.snapshot().retry_after if breaker.state is State.OPEN else 0.0
        return SharedState(breaker.name, self._origin, str(breaker.state), remaining)

    # -- following -----------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        troubles = _Troubles("watch", self._clock)
        while True:
            try:
                async for told in self._store.watch():
                    troubles.over()
                    self.follow(told)
            except Exception as error:  # noqa: BLE001 - as above
                await troubles.wait(error)
            else:
                await troubles.wait(None)

    def follow(self, told: SharedState) -> bool:
        """Do what another replica's news calls for; whether that was anything."""
        breaker = self._registry.breakers.get(told.breaker)
        if breaker is None or told.origin == self._origin or told.state != State.OPEN:
            return False
        # A store may hold anything. Nothing in it can keep a breaker open for longer than its own settings could.
        if not math.isfinite(told.remaining) or breaker.state not in _FOLLOWING:
            return False
        wait = min(told.remaining, rules.longest_open_wait(breaker.config))
        if wait < _SHORTEST_FOLLOWED:
            return False
        breaker.events.publish(OpeningFollowed(breaker.name, self._clock.monotonic(), told.origin, wait))
        self._following = True
        try:
            breaker.transition_to_open(wait)
        finally:
            self._following = False
        return True


class _Troubles:
    """Waits longer after each failure, and says so once."""

    def __init__(self, what: str, clock: Clock) -> None:
        self._what = what
        self._clock = clock
        self._next = _FIRST_WAIT
        self._told = False

    async def wait(self, error: Exception | None) -> None:
        if not self._told:
            self._told = True
            reason = "it ended" if error is None else f"{type(error).__name__}: {error}"
            logger.info("the store of shared breaker states cannot %s, trying on: %s", self._what, reason)
        wait, self._next = self._next, min(self._next * 2, _LONGEST_WAIT)
        await self._clock.sleep(wait)

    def over(self) -> None:
        self._next, self._told = _FIRST_WAIT, False
