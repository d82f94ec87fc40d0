"""Statement 15: what the breaker tells, and that telling never hurts."""

import gc
import logging
import weakref

import pytest

from shared.resilience import State
from shared.resilience.events import (
    BreakerReset,
    CallFailed,
    CallIgnored,
    CallRefused,
    CallSlow,
    CallSucceeded,
    Event,
    RateExceeded,
    StateTransition,
)
from shared.resilience.testing import FakeClock
from tests.unit.resilience.breakers import BusinessError, half_open, make, opened, play


def test_statement_15_every_outcome_has_its_event(clock: FakeClock) -> None:
    breaker = make(clock, ignore_exceptions=(BusinessError,))
    heard: list[Event] = []
    breaker.events.subscribe(heard.append)
    play(breaker, "SFs")
    breaker.on_error(breaker.acquire(), 0.1, BusinessError())
    breaker.transition_to_forced_open()
    breaker.try_acquire()
    breaker.reset()
    assert [type(event) for event in heard] == [
        CallSucceeded,
        CallFailed,
        CallSucceeded,
        CallSlow,
        CallIgnored,
        StateTransition,
        CallRefused,
        StateTransition,
        BreakerReset,
    ]


def test_statement_15_the_rate_is_reported_once_before_opening(clock: FakeClock) -> None:
    breaker = make(clock)
    heard: list[Event] = []
    breaker.events.subscribe(heard.append, RateExceeded, StateTransition)
    play(breaker, "FFFFF")
    assert [type(event) for event in heard] == [RateExceeded, StateTransition]
    rate, transition = heard
    assert isinstance(rate, RateExceeded)
    assert (rate.kind, rate.rate, rate.threshold) == ("failure", 100, 50)
    assert isinstance(transition, StateTransition)
    assert (transition.before, transition.after) == (State.CLOSED, State.OPEN)


def test_statement_15_both_rates_are_reported_when_both_are_exceeded(clock: FakeClock) -> None:
    breaker = make(clock)
    kinds: list[str] = []
    breaker.events.subscribe(lambda event: kinds.append(event.kind), RateExceeded)
    play(breaker, "fffff")
    assert kinds == ["failure", "slow"]


def test_statement_15_metrics_only_reports_the_rate_once(clock: FakeClock) -> None:
    breaker = make(clock)
    breaker.transition_to_metrics_only()
    heard: list[Event] = []
    breaker.events.subscribe(heard.append, RateExceeded)
    play(breaker, "FFFFFFFFFF")
    assert len(heard) == 1


async def test_statement_15_a_listener_that_raises_never_affects_the_call(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    breaker = half_open(clock)
    heard: list[Event] = []

    def broken(_: Event) -> None:
        raise RuntimeError("the listener is broken")

    breaker.events.subscribe(broken)
    breaker.events.subscribe(heard.append)

    async def answer() -> int:
        return 7

    with caplog.at_level(logging.ERROR, "holdfast.resilience"):
        assert [await breaker.call(answer) for _ in range(3)] == [7, 7, 7]
    assert breaker.state is State.CLOSED
    assert [type(event) for event in heard] == [CallSucceeded] * 3 + [StateTransition]
    assert "a listener failed" in caplog.text


def test_a_listener_that_moves_the_breaker_has_the_last_word(clock: FakeClock) -> None:
    breaker = make(clock)
    breaker.events.subscribe(lambda _: breaker.transition_to_disabled(), RateExceeded)
    play(breaker, "FFFFF")
    assert breaker.state is State.DISABLED


def test_a_transition_to_the_present_state_is_no_event(clock: FakeClock) -> None:
    breaker = make(clock)
    heard: list[Event] = []
    breaker.events.subscribe(heard.append)
    breaker.transition_to_closed()
    assert heard == []


def test_a_subscription_ends(clock: FakeClock) -> None:
    breaker = make(clock)
    heard: list[Event] = []
    end = breaker.events.subscribe(heard.append)
    play(breaker, "S")
    end()
    play(breaker, "SF")
    assert len(heard) == 1
    assert not breaker.events.wants_success


def test_the_last_events_are_kept_and_their_number_is_bounded(clock: FakeClock) -> None:
    breaker = make(clock, failure_rate_threshold=100)
    play(breaker, "SF" * 500)
    assert len(breaker.events.recent) == 100
    assert {type(event) for event in breaker.events.recent} == {CallFailed}


def test_the_history_does_not_keep_the_data_of_failed_calls_alive(clock: FakeClock) -> None:
    class Payload:
        pass

    breaker = make(clock)
    heard: list[Exception | None] = []
    breaker.events.subscribe(lambda event: heard.append(event.error), CallFailed)

    def fail() -> weakref.ref:
        payload = Payload()
        with pytest.raises(ZeroDivisionError) as raised:
            _ = 1 / 0
        breaker.on_error(breaker.acquire(), 0.1, raised.value)
        return weakref.ref(payload)

    payload = fail()
    # A listener is given the error itself.
    assert isinstance(heard.pop(), ZeroDivisionError)
    gc.collect()
    assert payload() is None
    [event] = breaker.events.recent
    assert repr(event.error) == "ZeroDivisionError('division by zero')"


def test_an_error_whose_text_cannot_be_read_hurts_nobody(clock: FakeClock) -> None:
    class UnreadableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    breaker = make(clock)
    breaker.on_error(breaker.acquire(), 0.1, UnreadableError())
    assert breaker.snapshot().failed_calls == 1


def test_a_transition_writes_one_structured_log_line(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "holdfast.resilience"):
        opened(clock)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "circuit breaker payment: closed -> open"
    assert (record.breaker, record.from_state, record.to_state) == ("payment", "closed", "open")
    assert record.retry_after_s == 5
