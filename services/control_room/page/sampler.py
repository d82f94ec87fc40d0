"""One look at the platform a second, shared by all who watch, and none while nobody does.

Each source is asked at its own pace; what it says, or why it says nothing, becomes one part of the view. A view is
encoded once, however many watch.
"""

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from services.control_room.page.web import Away
from shared.chassis.database import DatabaseUnavailable

TICK_SECONDS = 1.0
LINGER_SECONDS = 5.0
"""How long after the last question it goes on looking."""

log = structlog.get_logger()


@dataclass(slots=True)
class Source:
    """A part of the view.

    every:     seconds from one question to the next
    operators: only asked for, and only shown to, who is logged in
    """

    name: str
    read: Callable[[], Awaitable[Any]]
    every: float = TICK_SECONDS
    operators: bool = False
    due: float = float("-inf")
    value: Any = None
    away: str = "not asked yet"


@dataclass(frozen=True, slots=True)
class View:
    """What is sent: JSON, compressed."""

    number: int
    public: bytes
    operators: bytes


class Sampler:
    """Looks while somebody watches.

    now: the time of day, in Unix seconds
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        now: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sources, self._now, self._monotonic, self._sleep = sources, now, monotonic, sleep
        self._watched = self._watched_by_operator = float("-inf")
        self._somebody = asyncio.Event()
        self._next: asyncio.Future[View] | None = None
        self._count = 0
        self._view: View | None = None

    @property
    def looking(self) -> bool:
        """Somebody has asked a moment ago."""
        return self._monotonic() - self._watched < LINGER_SECONDS

    async def view(self, since: int, *, operator: bool, seconds: float) -> View | None:
        """The newest view, None when it is number `since`. The first one to look waits for it, at most so long."""
        self._watched = self._monotonic()
        if operator:
            self._watched_by_operator = self._watched
        self._somebody.set()
        if self._view is None:
            self._next = self._next or asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(seconds):
                    return await asyncio.shield(self._next)
            except TimeoutError:
                return None
        return None if self._view.number == since else self._view

    def hurry(self, *names: str) -> None:
        """Something was done: ask these sources at the next tick, whatever their pace."""
        for source in self._sources:
            if source.name in names:
                source.due = float("-inf")

    async def run(self) -> None:
        """Look for ever."""
        while True:
            if not self.looking:
                self._somebody.clear()
                self._forget()
                await self._somebody.wait()
            began = self._monotonic()
            await self.look()
            await self._sleep(max(0.05, TICK_SECONDS - (self._monotonic() - began)))

    async def look(self) -> None:
        """Ask who is due and make a view of what all have said."""
        now = self._monotonic()
        operators = now - self._watched_by_operator < LINGER_SECONDS
        due = [each for each in self._sources if each.due <= now and (operators or not each.operators)]
        await asyncio.gather(*(self._ask(each) for each in due))
        parts: dict[str, Any] = {each.name: _part(each) for each in self._sources if not each.operators}
        self._count += 1
        parts |= {"number": self._count, "at": self._now(), "operator": False}
        private = {each.name: _part(each) for each in self._sources if each.operators}
        self._view = View(
            self._count,
            _encoded(parts),
            _encoded(parts | private | {"operator": True}) if operators else b"",
        )
        if self._next is not None:
            self._next.set_result(self._view)
            self._next = None

    def _forget(self) -> None:
        # whoever looks next must not be shown what was true long ago
        for source in self._sources:
            source.due = float("-inf")
        self._view = None

    async def _ask(self, source: Source) -> None:
        source.due = self._monotonic() + source.every - TICK_SECONDS / 2
        try:
            source.value, source.away = await source.read(), ""
        except (Away, DatabaseUnavailable) as error:
            source.away = str(error) or type(error).__name__
        except Exception as error:
            # one source that answers nonsense must not take the others' view away
            source.away = f"its answer makes no sense ({type(error).__name__})"
            log.exception("source failed", source=source.name)


def _part(source: Source) -> dict[str, Any]:
    return {"away": source.away, "value": None if source.away else source.value}


def _encoded(parts: dict[str, Any]) -> bytes:
    squeezer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return squeezer.compress(orjson.dumps(parts)) + squeezer.flush()
