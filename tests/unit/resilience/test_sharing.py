"""Replicas that follow each other's openings, over a store that comes and goes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.resilience import CircuitBreaker, Registry, State
from shared.resilience.config import parse
from shared.resilience.events import Event, OpeningFollowed
from shared.resilience.sharing import SharedBreakers, SharedState
from shared.resilience.testing import FakeClock

CONFIG = """
instances:
  payment:
    circuit_breaker: {wait_duration_in_open_state: 5s, max_wait_duration_in_open_state: 20s, open_wait_multiplier: 2}
  stock: {circuit_breaker: {}}
"""


class Board:
    """A store in this process. `away`: it raises; `stuck`: it never answers."""

    def __init__(self) -> None:
        self.published: list[SharedState] = []
        self.away = self.stuck = False
        self.given_up = asyncio.Event()
        self._readers: list[asyncio.Queue[SharedState | None]] = []

    async def publish(self, state: SharedState) -> None:
        if self.stuck:
            try:
                await asyncio.Event().wait()
            finally:
                self.given_up.set()
        if self.away:
            raise ConnectionError("away")
        self.published.append(state)
        for reader in self._readers:
            reader.put_nowait(state)

    async def watch(self) -> AsyncIterator[SharedState]:
        if self.away:
            raise ConnectionError("away")
        reader: asyncio.Queue[SharedState | None] = asyncio.Queue()
        self._readers.append(reader)
        for state in {(each.breaker, each.origin): each for each in self.published}.values():
            yield state
        while (told := await reader.get()) is not None:
            yield told

    def hang_up(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            reader.put_nowait(None)


class Replica:
    """A service's registry that shares over `board`."""

    def __init__(self, name: str, board: Board, clock: FakeClock) -> None:
        self.registry = Registry(parse(CONFIG, Path("resilience.yaml")), clock=clock)
        self.shared = SharedBreakers(self.registry, board, origin=name, clock=clock)
        self.heard: list[Event] = []
        self.registry.subscribe(self.heard.append, OpeningFollowed)
        self.task: asyncio.Task[None] | None = None

    @property
    def payment(self) -> CircuitBreaker:
        return self.registry.breakers["payment"]

    def start(self) -> "Replica":
        self.task = asyncio.create_task(self.shared.run())
        return self

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
async def pair(board: Board, clock: FakeClock) -> AsyncIterator[tuple[Replica, Replica]]:
    one, two = Replica("one", board, clock).start(), Replica("two", board, clock).start()
    await clock.settle()
    yield one, two
    await one.stop()
    await two.stop()


async def test_an_opening_is_followed_for_the_wait_that_remains(
    pair: tuple[Replica, Replica], clock: FakeClock
) -> None:
    one, two = pair
    one.payment.transition_to_open(3)
    await clock.settle()
    assert two.payment.state is State.OPEN
    assert two.payment.snapshot().retry_after == 3
    assert [(event.origin, event.wait) for event in two.heard if isinstance(event, OpeningFollowed)] == [("one", 3)]
    await clock.advance(3)
    assert two.payment.try_acquire() is not None
    assert two.payment.state is State.HALF_OPEN


async def test_what_was_followed_is_not_published_again(
    pair: tuple[Replica, Replica], board: Board, clock: FakeClock
) -> None:
    one, _ = pair
    before = len(board.published)
    one.payment.transition_to_open()
    await clock.settle()
    assert [(told.origin, told.state) for told in board.published[before:]] == [("one", "open")]


async def test_a_closing_elsewhere_closes_nothing(pair: tuple[Replica, Replica], clock: FakeClock) -> None:
    one, two = pair
    one.payment.transition_to_open()
    await clock.settle()
    one.payment.transition_to_closed()
    await clock.settle()
    assert (one.payment.state, two.payment.state) == (State.CLOSED, State.OPEN)


async def test_other_breakers_are_left_alone(pair: tuple[Replica, Replica], clock: FakeClock) -> None:
    one, two = pair
    one.payment.transition_to_open()
    await clock.settle()
    assert two.registry.breakers["stock"].state is State.CLOSED


@pytest.mark.parametrize("state", [State.FORCED_OPEN, State.DISABLED, State.METRICS_ONLY])
async def test_what_an_operator_has_set_by_hand_stays(
    pair: tuple[Replica, Replica], clock: FakeClock, state: State
) -> None:
    one, two = pair
    getattr(two.payment, f"transition_to_{state}")()
    one.payment.transition_to_open()
    await clock.settle()
    assert two.payment.state is state


async def test_a_forced_opening_is_one_replicas_own(pair: tuple[Replica, Replica], clock: FakeClock) -> None:
    one, two = pair
    one.payment.transition_to_forced_open()
    await clock.settle()
    assert two.payment.state is State.CLOSED


async def test_an_open_breaker_keeps_its_own_wait(pair: tuple[Replica, Replica], clock: FakeClock) -> None:
    one, two = pair
    two.payment.transition_to_open(1)
    await clock.settle()
    one.payment.transition_to_closed()
    one.payment.transition_to_open(4)
    await clock.settle()
    assert two.payment.snapshot().retry_after == 1


async def test_a_replica_that_tries_carefully_follows_who_has_just_failed(
    pair: tuple[Replica, Replica], clock: FakeClock
) -> None:
    one, two = pair
    one.payment.transition_to_open(1)
    await clock.settle()
    await clock.advance(1)
    for replica in pair:
        assert replica.payment.try_acquire() is not None
    one.payment.transition_to_open(7)
    await clock.settle()
    assert two.payment.snapshot().retry_after == 7


@pytest.mark.parametrize(
    ("told", "follows"),
    [
        (SharedState("payment", "one", "open", 1e9), True),
        (SharedState("payment", "one", "open", float("inf")), False),
        (SharedState("payment", "one", "open", float("nan")), False),
        (SharedState("payment", "one", "open", -1), False),
        (SharedState("payment", "one", "open", 0.01), False),
        (SharedState("payment", "two", "open", 5), False),
        (SharedState("unknown", "one", "open", 5), False),
        (SharedState("payment", "one", "ajar", 5), False),
    ],
)
def test_nothing_in_a_store_can_do_harm(board: Board, clock: FakeClock, told: SharedState, follows: bool) -> None:
    replica = Replica("two", board, clock)
    assert replica.shared.follow(told) is follows
    assert replica.payment.snapshot().retry_after == (20 if follows else 0)


async def test_a_store_that_is_away_changes_nothing_but_that(
    pair: tuple[Replica, Replica], board: Board, clock: FakeClock
) -> None:
    one, two = pair
    board.away = True
    board.hang_up()
    one.payment.transition_to_open(10)
    await clock.settle()
    assert (one.payment.state, two.payment.state) == (State.OPEN, State.CLOSED)
    await clock.advance(3)
    board.away = False
    await clock.advance(5)
    # What remains by now, and not what remained then.
    assert two.payment.state is State.OPEN
    assert two.payment.snapshot().retry_after == pytest.approx(one.payment.snapshot().retry_after)


async def test_what_is_over_when_the_store_is_back_is_not_told(
    pair: tuple[Replica, Replica], board: Board, clock: FakeClock
) -> None:
    one, two = pair
    board.away = True
    for _ in range(100):
        one.payment.transition_to_open(1)
        one.payment.transition_to_closed()
    await clock.advance(4)
    told = len(board.published)
    board.away = False
    await clock.advance(10)
    assert [(each.breaker, each.state) for each in board.published[told:]] == [("payment", "closed")]
    assert two.payment.state is State.CLOSED


async def test_a_late_replica_learns_what_is_stored(board: Board, clock: FakeClock) -> None:
    board.published = [SharedState("payment", "one", "open", 4)]
    late = Replica("two", board, clock).start()
    await clock.settle()
    assert late.payment.snapshot().retry_after == 4
    await late.stop()


async def test_a_replica_that_starts_withdraws_what_it_said_in_its_former_life(board: Board, clock: FakeClock) -> None:
    board.published = [SharedState("payment", "one", "open", 4)]
    again = Replica("one", board, clock).start()
    await clock.settle()
    assert again.payment.state is State.CLOSED
    assert {(told.breaker, told.state) for told in board.published[1:]} == {("payment", "closed"), ("stock", "closed")}
    await again.stop()


async def test_stopping_ends_the_listening(pair: tuple[Replica, Replica], board: Board, clock: FakeClock) -> None:
    one, _ = pair
    await one.stop()
    told = len(board.published)
    one.payment.transition_to_open()
    await clock.settle()
    assert len(board.published) == told


async def test_a_stuck_store_is_given_up_and_asked_again(
    board: Board, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.resilience.sharing._PUBLISH_SECONDS", 0.01)
    board.stuck = True
    one = Replica("one", board, clock).start()
    one.payment.transition_to_open()
    async with asyncio.timeout(30):
        await board.given_up.wait()
    board.stuck = False
    await clock.settle()
    await clock.advance(1)
    assert ("payment", "open") in [(told.breaker, told.state) for told in board.published]
    await one.stop()
