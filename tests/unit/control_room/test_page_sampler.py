"""One look a second for all who watch: what fails stays alone, and nobody looks when nobody watches."""

import asyncio
import gzip
import json
from typing import Any

from services.control_room.page.sampler import LINGER_SECONDS, Sampler, Source
from services.control_room.page.web import Away


class Asked:
    """A source that counts how often it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.times = answer, 0

    async def read(self) -> Any:
        self.times += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def sampler(clock: Clock, more: dict[str, Any] | None = None, **sources: Asked) -> Sampler:
    listed = [Source(name, asked.read, operators=name == "levers") for name, asked in sources.items()]
    return Sampler(listed, now=clock, monotonic=clock, **(more or {}))


async def seen(sampler: Sampler, *, operator: bool = False) -> dict[str, Any]:
    """The next view, as a viewer gets it."""
    await sampler.view(0, operator=operator, seconds=0)
    await sampler.look()
    view = await sampler.view(0, operator=operator, seconds=0)
    assert view is not None
    found: dict[str, Any] = json.loads(gzip.decompress((operator and view.operators) or view.public))
    return found


async def test_a_source_without_an_answer_gives_its_reason_and_the_others_their_values() -> None:
    clock = Clock()
    view = await seen(sampler(clock, numbers=Asked(Away("no answer within 2 s")), replicas=Asked([1, 2])))
    assert view["numbers"] == {"away": "no answer within 2 s", "value": None}
    assert view["replicas"] == {"away": "", "value": [1, 2]}


async def test_a_source_that_answers_nonsense_takes_nobody_elses_view_away() -> None:
    view = await seen(sampler(Clock(), numbers=Asked(KeyError("data")), replicas=Asked([])))
    assert "KeyError" in view["numbers"]["away"]
    assert view["replicas"]["away"] == ""


async def test_levers_are_asked_for_and_shown_only_while_an_operator_watches() -> None:
    clock, levers = Clock(), Asked({"faults": []})
    looking = sampler(clock, levers=levers, replicas=Asked([]))
    assert "levers" not in await seen(looking)
    assert levers.times == 0
    clock.seconds += 10
    assert (await seen(looking, operator=True))["levers"]["value"] == {"faults": []}
    clock.seconds += 1
    assert "levers" not in await seen(looking)


async def test_many_viewers_share_one_look() -> None:
    asked = Asked([])
    looking = sampler(Clock(), replicas=asked)
    watching = [asyncio.create_task(looking.view(0, operator=False, seconds=5)) for _ in range(20)]
    await asyncio.sleep(0)
    await looking.look()
    views = await asyncio.gather(*watching)
    assert asked.times == 1
    assert len({id(view) for view in views}) == 1


async def test_a_viewer_who_has_the_newest_view_gets_nothing() -> None:
    looking = sampler(Clock(), replicas=Asked([]))
    view = await seen(looking)
    assert await looking.view(view["number"], operator=False, seconds=5) is None


async def test_nobody_is_asked_once_nobody_watches_and_the_next_viewer_sees_nothing_old() -> None:
    clock, asked = Clock(), Asked("old")

    async def sleep(_seconds: float) -> None:
        clock.seconds += LINGER_SECONDS + 1

    looking = sampler(clock, {"sleep": sleep}, replicas=asked)
    running = asyncio.create_task(looking.run())
    try:
        first = await looking.view(0, operator=False, seconds=5)
        await asyncio.sleep(0.05)  # in which it could ask thousands of times
        assert asked.times == 1
        asked.answer = "new"
        second = await looking.view(0, operator=False, seconds=5)
    finally:
        running.cancel()
    assert first is not None
    assert second is not None
    assert json.loads(gzip.decompress(second.public))["replicas"]["value"] == "new"
    assert asked.times == 2
