"""Statements 9 to 14: the states, and the way from one to the next."""

import asyncio

import pytest

from shared.resilience import CallNotPermitted, IllegalTransitionError, State
from shared.resilience.events import StateTransition
from shared.resilience.testing import FakeClock
from tests.unit.resilience.breakers import DownError, half_open, make, opened, play


async def test_statement_9_cancellation_records_nothing(clock: FakeClock) -> None:
    breaker = make(clock)
    task = asyncio.create_task(breaker.call(clock.sleep, 10))
    await clock.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    now = breaker.snapshot()
    assert (now.buffered_calls, now.failed.calls, now.successful.calls, now.ignored.calls) == (0, 0, 0, 0)


async def test_statement_9_cancellation_gives_a_half_open_permit_back(clock: FakeClock) -> None:
    breaker = half_open(clock)
    for _ in range(10):
        task = asyncio.create_task(breaker.call(clock.sleep, 10))
        await clock.settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert play(breaker, "SSS").state is State.CLOSED


async def test_statement_9_any_base_exception_gives_the_permit_back(clock: FakeClock) -> None:
    breaker = half_open(clock)

    async def stop() -> None:
        raise SystemExit(1)

    for _ in range(5):
        with pytest.raises(SystemExit):
            await breaker.call(stop)
    assert breaker.snapshot().buffered_calls == 0
    assert play(breaker, "SSS").state is State.CLOSED


def test_statement_10_open_keeps_the_metrics_that_tripped_it(clock: FakeClock) -> None:
    now = opened(clock).snapshot()
    assert (now.state, now.failed_calls, now.failure_rate) == (State.OPEN, 5, 100)


@pytest.mark.parametrize("target", ["closed", "half_open", "forced_open", "disabled", "metrics_only"])
def test_statement_10_every_other_transition_starts_with_fresh_metrics(clock: FakeClock, target: str) -> None:
    breaker = opened(clock)
    getattr(breaker, f"transition_to_{target}")()
    now = breaker.snapshot()
    assert now.state == target
    assert (now.buffered_calls, now.failed_calls, now.failure_rate) == (0, 0, -1)


def test_statement_10_reopening_keeps_the_trials_that_failed(clock: FakeClock) -> None:
    breaker = half_open(clock)
    now = play(breaker, "FFS")
    assert (now.state, now.buffered_calls, now.failed_calls) == (State.OPEN, 3, 2)


async def test_statement_11_without_the_automatic_transition_open_waits_for_a_call(clock: FakeClock) -> None:
    breaker = opened(clock)
    await clock.advance(60)
    assert breaker.state is State.OPEN
    assert breaker.try_acquire() is not None
    assert breaker.state is State.HALF_OPEN
    assert [breaker.try_acquire() is not None for _ in range(3)] == [True, True, False]


def test_statement_11_before_the_wait_is_over_every_call_is_refused(clock: FakeClock) -> None:
    breaker = opened(clock)
    clock.tick(4.999)
    assert breaker.try_acquire() is None
    clock.tick(0.001)
    assert breaker.try_acquire() is not None


async def test_statement_11_with_the_automatic_transition_a_timer_moves_it(clock: FakeClock) -> None:
    breaker = opened(clock, automatic_transition=True)
    await clock.advance(4.999)
    assert breaker.state is State.OPEN
    await clock.advance(0.001)
    assert breaker.state is State.HALF_OPEN


async def test_statement_11_leaving_open_cancels_the_timer(clock: FakeClock) -> None:
    breaker = opened(clock, automatic_transition=True)
    assert clock.pending == 1
    breaker.transition_to_forced_open()
    assert clock.pending == 0
    await clock.advance(100)
    assert breaker.state is State.FORCED_OPEN


async def test_statement_11_a_second_opening_is_not_cut_short_by_the_first_timer(clock: FakeClock) -> None:
    breaker = opened(clock, automatic_transition=True)
    await clock.advance(3)
    breaker.reset()
    play(breaker, "FFFFF")
    await clock.advance(3)
    assert breaker.state is State.OPEN
    await clock.advance(2)
    assert breaker.state is State.HALF_OPEN


def test_statement_12_half_open_admits_exactly_the_permitted_calls_and_counts_the_others(clock: FakeClock) -> None:
    breaker = half_open(clock)
    admitted = [breaker.try_acquire() is not None for _ in range(10)]
    assert admitted == [True] * 3 + [False] * 7
    assert breaker.snapshot().not_permitted_calls == 7


async def test_statement_12_a_thousand_concurrent_calls_in_half_open_make_three(clock: FakeClock) -> None:
    breaker = half_open(clock)
    made = []

    async def dependency() -> None:
        made.append(1)
        await clock.sleep(0.1)

    results = await clock.run(_gather([breaker.call(dependency) for _ in range(1000)]))
    assert len(made) == 3
    assert sum(isinstance(result, CallNotPermitted) for result in results) == 997
    assert breaker.state is State.CLOSED


async def _gather(calls: list) -> list:
    return await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize(
    ("trials", "after"), [("SSS", State.CLOSED), ("SSF", State.CLOSED), ("SFF", State.OPEN), ("sss", State.OPEN)]
)
def test_statement_12_half_open_decides_after_the_permitted_outcomes(
    clock: FakeClock, trials: str, after: State
) -> None:
    breaker = half_open(clock)
    assert play(breaker, trials[:2]).state is State.HALF_OPEN
    assert play(breaker, trials[2]).state is after


def test_statement_12_the_minimum_decides_when_it_is_smaller_than_the_permits(clock: FakeClock) -> None:
    breaker = half_open(clock, minimum_number_of_calls=2, permitted_calls_in_half_open=8)
    assert play(breaker, "S").state is State.HALF_OPEN
    assert play(breaker, "S").state is State.CLOSED


def test_statement_12_it_closes_with_an_empty_window(clock: FakeClock) -> None:
    now = play(half_open(clock), "SSF")
    assert (now.state, now.buffered_calls) == (State.CLOSED, 0)


async def test_statement_13_a_stay_in_half_open_that_is_too_long_ends_in_open(clock: FakeClock) -> None:
    breaker = half_open(clock, max_wait_duration_in_half_open=10)
    await clock.advance(9.9)
    assert breaker.state is State.HALF_OPEN
    await clock.advance(0.1)
    assert breaker.state is State.OPEN


async def test_the_stay_in_half_open_is_bounded_by_default(clock: FakeClock) -> None:
    breaker = half_open(clock)
    breaker.acquire()  # a trial that never comes back
    await clock.advance(60)
    assert breaker.state is State.OPEN


async def test_statement_13_nought_lets_half_open_last_for_ever(clock: FakeClock) -> None:
    breaker = half_open(clock, max_wait_duration_in_half_open=0)
    await clock.advance(1e6)
    assert breaker.state is State.HALF_OPEN


def test_statement_13_without_an_event_loop_the_next_call_ends_the_long_stay(clock: FakeClock) -> None:
    class Loopless(FakeClock):
        def call_later(self, delay: float, callback: object, *args: object) -> object:
            raise RuntimeError("no running event loop")

    loopless = Loopless()
    breaker = half_open(loopless, max_wait_duration_in_half_open=10)
    loopless.tick(10)
    assert breaker.try_acquire() is None
    assert breaker.state is State.OPEN


def test_statement_13_the_open_wait_grows_with_each_reopening_and_closed_resets_it(clock: FakeClock) -> None:
    breaker = opened(clock, open_wait_multiplier=1.5)
    waits = [breaker.snapshot().retry_after]
    for _ in range(2):
        breaker.transition_to_half_open()
        play(breaker, "FFF")
        waits.append(breaker.snapshot().retry_after)
    assert waits == pytest.approx([5, 7.5, 11.25])
    breaker.transition_to_half_open()
    play(breaker, "SSS")
    play(breaker, "FFFFF")
    assert breaker.snapshot().retry_after == pytest.approx(5)


def test_statement_13_the_growing_wait_has_a_ceiling(clock: FakeClock) -> None:
    breaker = opened(clock, open_wait_multiplier=10, max_wait_duration_in_open_state=60)
    for _ in range(400):
        breaker.transition_to_half_open()
        play(breaker, "FFF")
    assert breaker.snapshot().retry_after == pytest.approx(60)


def test_statement_14_forced_open_refuses_all_and_counts_the_refusals(clock: FakeClock) -> None:
    breaker = make(clock)
    breaker.transition_to_forced_open()
    clock.tick(1e6)
    assert [breaker.try_acquire() for _ in range(4)] == [None] * 4
    assert breaker.state is State.FORCED_OPEN
    assert breaker.snapshot().not_permitted_calls == 4


def test_statement_14_disabled_permits_all_and_records_nothing(clock: FakeClock) -> None:
    breaker = make(clock)
    breaker.transition_to_disabled()
    now = play(breaker, "FFFFFFFFFFfs")
    assert now.state is State.DISABLED
    assert (now.buffered_calls, now.failed.calls, now.successful.calls) == (0, 0, 0)


def test_statement_14_metrics_only_records_and_never_transitions(clock: FakeClock) -> None:
    breaker = make(clock)
    breaker.transition_to_metrics_only()
    now = play(breaker, "FFFFFFFF")
    assert (now.state, now.failure_rate, now.failed.calls) == (State.METRICS_ONLY, 100, 8)


def test_statement_14_closed_to_half_open_is_illegal(clock: FakeClock) -> None:
    breaker = make(clock)
    play(breaker, "FF")
    with pytest.raises(IllegalTransitionError, match="cannot go from closed to half_open"):
        breaker.transition_to_half_open()
    assert (breaker.state, breaker.snapshot().failed_calls) == (State.CLOSED, 2)


@pytest.mark.parametrize("before", ["open", "forced_open", "disabled", "metrics_only"])
def test_statement_14_half_open_can_be_reached_from_every_other_state(clock: FakeClock, before: str) -> None:
    breaker = make(clock)
    getattr(breaker, f"transition_to_{before}")()
    breaker.transition_to_half_open()
    assert breaker.state is State.HALF_OPEN


def test_better_an_outcome_from_an_earlier_state_is_not_charged_to_the_next(clock: FakeClock) -> None:
    breaker = make(clock)
    stale = [breaker.acquire() for _ in range(20)]
    play(breaker, "FFFFF")
    breaker.transition_to_half_open()
    for permit in stale:
        breaker.on_error(permit, 0.1, DownError())
    assert (breaker.state, breaker.snapshot().buffered_calls) == (State.HALF_OPEN, 0)
    # They were calls all the same.
    assert breaker.snapshot().failed.calls == 25


def test_better_a_permit_from_an_earlier_half_open_is_not_given_back_to_this_one(clock: FakeClock) -> None:
    breaker = half_open(clock)
    stale = breaker.acquire()
    breaker.transition_to_open()
    breaker.transition_to_half_open()
    permits = [breaker.acquire() for _ in range(3)]
    breaker.release(stale)
    assert breaker.try_acquire() is None
    breaker.release(permits[0])
    assert breaker.try_acquire() is not None


def test_better_giving_a_permit_back_is_capped(clock: FakeClock) -> None:
    breaker = half_open(clock)
    permit = breaker.acquire()
    for _ in range(50):
        breaker.release(permit)
    assert [breaker.try_acquire() is not None for _ in range(4)] == [True, True, True, False]


def test_better_an_outcome_that_is_reported_twice_counts_once(clock: FakeClock) -> None:
    breaker = half_open(clock)
    permit = breaker.acquire()
    for _ in range(5):
        breaker.on_error(permit, 0.1, DownError())
    assert (breaker.state, breaker.snapshot().buffered_calls) == (State.HALF_OPEN, 1)


def test_better_a_call_that_lost_the_race_into_half_open_is_counted_once(clock: FakeClock) -> None:
    breaker = opened(clock)
    taken = []
    # Whoever hears of the transition first takes every permit before the call that caused it.
    breaker.events.subscribe(lambda _: taken.extend(breaker.try_acquire() for _ in range(3)), StateTransition)
    clock.tick(5)
    assert breaker.try_acquire() is None
    assert None not in taken
    assert breaker.snapshot().not_permitted_calls == 1


def test_opening_by_hand_can_say_for_how_long(clock: FakeClock) -> None:
    breaker = make(clock)
    breaker.transition_to_open(wait=2.5)
    clock.tick(2.4)
    assert breaker.try_acquire() is None
    clock.tick(0.1)
    assert breaker.try_acquire() is not None


def test_the_time_is_the_injected_monotonic_one_and_a_clock_that_goes_back_breaks_nothing(clock: FakeClock) -> None:
    breaker = make(clock, sliding_window_type="time", sliding_window_size=3)
    play(breaker, "FF")
    clock.tick(-100)
    now = play(breaker, "FFF")
    assert (now.state, now.buffered_calls) == (State.OPEN, 5)
