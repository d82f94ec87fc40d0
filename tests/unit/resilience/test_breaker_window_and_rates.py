"""Statements 1 to 8: what is counted, and when it opens the breaker."""

import pytest

from shared.resilience import CallNotPermitted, CircuitBreaker, CircuitBreakerConfig, State
from shared.resilience.testing import FakeClock
from tests.unit.resilience.breakers import BusinessError, DownError, SubDownError, half_open, make, play


def test_statement_1_the_defaults_are_resilience4js() -> None:
    config = CircuitBreakerConfig()
    assert config.failure_rate_threshold == 50
    assert config.slow_call_rate_threshold == 100
    assert config.slow_call_duration_threshold == 60
    assert config.wait_duration_in_open_state == 60
    assert config.permitted_calls_in_half_open == 10
    assert config.minimum_number_of_calls == 100
    assert (config.sliding_window_type, config.sliding_window_size) == ("count", 100)


def test_statement_2_below_the_minimum_both_rates_read_minus_one_and_nothing_trips(clock: FakeClock) -> None:
    breaker = make(clock)
    now = play(breaker, "ffff")
    assert (now.failure_rate, now.slow_call_rate) == (-1, -1)
    assert now.state is State.CLOSED
    assert (now.buffered_calls, now.failed_calls, now.slow_calls) == (4, 4, 4)


def test_statement_2_an_unused_breaker_reads_minus_one(clock: FakeClock) -> None:
    now = make(clock, minimum_number_of_calls=1).snapshot()
    assert (now.failure_rate, now.slow_call_rate) == (-1, -1)


def test_statement_3_a_success_that_completes_the_minimum_opens(clock: FakeClock) -> None:
    breaker = make(clock)
    assert play(breaker, "FFFS").state is State.CLOSED
    assert play(breaker, "S").state is State.OPEN


def test_statement_3_a_success_below_the_threshold_does_not_open(clock: FakeClock) -> None:
    assert play(make(clock), "FFSSS").state is State.CLOSED


def test_statement_4_three_failures_of_six_open_at_fifty_percent(clock: FakeClock) -> None:
    breaker = make(clock, minimum_number_of_calls=6)
    assert play(breaker, "SSSFF").state is State.CLOSED
    now = play(breaker, "F")
    assert now.state is State.OPEN
    assert now.failure_rate == 50


def test_statement_4_a_call_as_long_as_the_threshold_is_not_slow(clock: FakeClock) -> None:
    breaker = make(clock)
    breaker.on_success(breaker.acquire(), 1.0)
    assert breaker.snapshot().slow_calls == 0
    breaker.on_success(breaker.acquire(), 1.0000001)
    assert breaker.snapshot().slow_calls == 1


def test_statement_4_a_slow_failure_counts_in_both_rates(clock: FakeClock) -> None:
    breaker = make(clock, slow_call_rate_threshold=100, failure_rate_threshold=100)
    now = play(breaker, "fSSSS")
    assert (now.failure_rate, now.slow_call_rate) == (20, 20)
    assert (now.slow_failed_calls, now.slow_successful_calls) == (1, 0)


def test_statement_4_slow_successes_alone_open(clock: FakeClock) -> None:
    now = play(make(clock, slow_call_rate_threshold=60), "sssSS")
    assert now.state is State.OPEN
    assert (now.failure_rate, now.slow_call_rate) == (0, 60)


def test_statement_5_a_count_window_clamps_the_minimum_to_its_size(clock: FakeClock) -> None:
    breaker = make(clock, sliding_window_size=3, minimum_number_of_calls=100)
    assert play(breaker, "FF").failure_rate == -1
    assert play(breaker, "F").state is State.OPEN


def test_statement_5_a_time_window_does_not_clamp_the_minimum(clock: FakeClock) -> None:
    breaker = make(clock, sliding_window_type="time", sliding_window_size=3, minimum_number_of_calls=5)
    assert play(breaker, "FFFF").failure_rate == -1
    assert play(breaker, "F").state is State.OPEN


def test_statement_5_old_buckets_leave_a_time_window_when_it_is_recorded_to(clock: FakeClock) -> None:
    breaker = make(clock, sliding_window_type="time", sliding_window_size=3)
    play(breaker, "FFFF")
    clock.tick(3)
    now = play(breaker, "F")
    assert (now.state, now.buffered_calls) == (State.CLOSED, 1)


def test_statement_5_old_buckets_leave_a_time_window_when_it_is_read(clock: FakeClock) -> None:
    breaker = make(clock, sliding_window_type="time", sliding_window_size=3)
    play(breaker, "FF")
    clock.tick(1)
    play(breaker, "F")
    clock.tick(2)
    assert breaker.snapshot().buffered_calls == 1
    clock.tick(1)
    assert breaker.snapshot().buffered_calls == 0


def test_statement_5_expiry_alone_never_transitions(clock: FakeClock) -> None:
    breaker = make(clock, sliding_window_type="time", sliding_window_size=3, failure_rate_threshold=60)
    play(breaker, "SSS")
    clock.tick(2)
    play(breaker, "FFFF")
    # 4 of 7 failed. When the successes have left, 4 of 4 have, and still nothing happens until a call is recorded.
    clock.tick(1)
    assert breaker.snapshot().state is State.CLOSED
    assert play(breaker, "S").state is State.OPEN


def test_statement_6_the_rate_is_over_the_buffered_calls(clock: FakeClock) -> None:
    now = play(make(clock, sliding_window_size=100), "FFSSSSSS")
    assert now.failure_rate == 25


def test_statement_6_the_oldest_call_leaves_a_full_count_window(clock: FakeClock) -> None:
    breaker = make(clock, sliding_window_size=5, failure_rate_threshold=80)
    assert play(breaker, "FFSSS").failure_rate == 40
    assert play(breaker, "SS").failure_rate == 0
    assert play(breaker, "S").buffered_calls == 5


@pytest.mark.parametrize("error", [DownError(), SubDownError()])
def test_statement_7_ignored_exceptions_and_their_subclasses_are_not_buffered(
    clock: FakeClock, error: Exception
) -> None:
    breaker = make(clock, ignore_exceptions=(DownError,))
    breaker.on_error(breaker.acquire(), 0.1, error)
    now = breaker.snapshot()
    assert (now.buffered_calls, now.failed.calls, now.successful.calls) == (0, 0, 0)
    assert now.ignored.calls == 1


def test_statement_7_ignore_is_tested_before_record(clock: FakeClock) -> None:
    breaker = make(clock, ignore_exceptions=(DownError,), record_exceptions=(DownError, SubDownError))
    breaker.on_error(breaker.acquire(), 0.1, SubDownError())
    assert breaker.snapshot().buffered_calls == 0


def test_statement_7_an_ignored_exception_gives_a_half_open_permit_back(clock: FakeClock) -> None:
    breaker = half_open(clock, ignore_exceptions=(BusinessError,))
    for _ in range(10):
        breaker.on_error(breaker.acquire(), 0.1, BusinessError())
    assert breaker.state is State.HALF_OPEN
    assert play(breaker, "SSS").state is State.CLOSED


def test_statement_7_with_a_record_list_any_other_exception_is_a_success(clock: FakeClock) -> None:
    breaker = make(clock, record_exceptions=(DownError,))
    for _ in range(5):
        breaker.on_error(breaker.acquire(), 0.1, BusinessError())
    now = breaker.snapshot()
    assert (now.state, now.successful.calls, now.failure_rate) == (State.CLOSED, 5, 0)
    breaker.on_error(breaker.acquire(), 0.1, SubDownError())
    assert breaker.snapshot().failed_calls == 1


async def test_statement_8_a_result_can_be_a_failure_and_still_reach_the_caller(clock: FakeClock) -> None:
    breaker = make(clock, record_result=lambda status: status >= 500)

    async def answer(status: int) -> int:
        return status

    assert [await breaker.call(answer, status) for status in (200, 503, 503, 503, 200)] == [200, 503, 503, 503, 200]
    now = breaker.snapshot()
    assert (now.state, now.failed_calls) == (State.OPEN, 3)


async def test_a_predicate_that_raises_takes_neither_the_result_nor_the_permit(clock: FakeClock) -> None:
    breaker = half_open(clock, record_result=lambda status: status["no such thing"])

    async def answer() -> int:
        return 7

    assert await breaker.call(answer) == 7
    assert play_is_possible(breaker, 2)


def play_is_possible(breaker: CircuitBreaker, permits: int) -> bool:
    taken = [breaker.try_acquire() for _ in range(permits + 1)]
    return taken[:permits].count(None) == 0 and taken[permits] is None


async def test_a_call_through_an_open_breaker_is_never_made(clock: FakeClock) -> None:
    breaker = make(clock)
    play(breaker, "FFFFF")
    calls = []

    async def dependency() -> None:
        calls.append(1)

    clock.tick(2)
    with pytest.raises(CallNotPermitted) as refused:
        await breaker.call(dependency)
    assert calls == []
    assert (refused.value.breaker, refused.value.state) == ("payment", "open")
    assert refused.value.retry_after == pytest.approx(3)
