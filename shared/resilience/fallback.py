"""The fallback: a worse answer instead of none.

    await pipeline.call(charge, order, fallback=queue_for_later)
    await pipeline.call(read, fallback=[Fallback(cached, on=(CallNotPermitted,)), Fallback(default)])

A fallback receives the error. If it raises, that error goes to the next one that wants it; the last error is raised,
with the one before as its cause.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.events import EventBus, FallbackAnswered, FallbackFailed
from shared.resilience.invocation import Invocation, Step

T = TypeVar("T")
Handler: TypeAlias = Callable[[BaseException], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Fallback(Generic[T]):
    """One link of the chain.

    handler: awaited with the error
    on:      exception types that it answers for
    name:    in events; by default the handler's own
    """

    handler: Handler[T]
    on: tuple[type[Exception], ...] = (Exception,)
    name: str = ""

    @property
    def label(self) -> str:
        """The name to show."""
        return self.name or getattr(self.handler, "__name__", type(self.handler).__name__)


Fallbacks: TypeAlias = Handler[T] | Fallback[T] | Sequence[Fallback[T]]


@dataclass(frozen=True, slots=True)
class FallbackSnapshot:
    """Fallbacks that answered, and that raised, since the start."""

    name: str
    successful: int
    failed: int


class FallbackLayer:
    """Answers in the dependency's place. `chain` follows whatever the call itself brings along."""

    def __init__(
        self,
        name: str,
        chain: Sequence[Fallback[Any]] = (),
        *,
        clock: Clock = SYSTEM_CLOCK,
        events: EventBus | None = None,
    ) -> None:
        self.name = name
        self.chain = tuple(chain)
        self.events = events or EventBus()
        self._clock = clock
        self._counts: Counter[str] = Counter()

    def run(self, inner: Step, invocation: Invocation) -> Awaitable[Any]:
        """Call; on an error, ask the fallbacks. Cancellation is nobody's to answer."""
        if invocation.fallback is None and not self.chain:
            return inner(invocation)
        return self._guarded(inner, invocation)

    async def _guarded(self, inner: Step, invocation: Invocation) -> Any:
        try:
            return await inner(invocation)
        except Exception as error:  # noqa: BLE001 - re-raised below unless somebody answers for it
            cause = error
        return await self._answer(cause, (*_links(invocation.fallback), *self.chain))

    async def _answer(self, cause: Exception, links: tuple[Fallback[Any], ...]) -> Any:
        last = cause
        for link in links:
            if not isinstance(last, link.on):
                continue
            try:
                result = await link.handler(last)
            except Exception as error:  # noqa: BLE001 - offered to the next link, raised when there is none
                self._counts["failed"] += 1
                self.events.publish(FallbackFailed(self.name, self._clock.monotonic(), link.label, cause, error))
                if error is not last and error.__cause__ is None:
                    error.__cause__ = last
                last = error
            else:
                self._counts["successful"] += 1
                self.events.publish(FallbackAnswered(self.name, self._clock.monotonic(), link.label, last))
                return result
        raise last

    def snapshot(self) -> FallbackSnapshot:
        """The counts so far."""
        return FallbackSnapshot(self.name, self._counts["successful"], self._counts["failed"])


def _links(fallback: "Fallbacks[Any] | None") -> tuple[Fallback[Any], ...]:
    if fallback is None:
        return ()
    if isinstance(fallback, Fallback):
        return (fallback,)
    if isinstance(fallback, Sequence):
        return tuple(fallback)
    return (Fallback(fallback),)
