"""aiobreaker's interface over our breaker, and an aiobreaker where ours is expected."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import aiobreaker
import pytest

from shared.resilience import CallNotPermitted, CircuitBreaker, IllegalTransitionError, Pipeline, RetryConfig, State
from shared.resilience.aiobreaker_adapter import AioBreaker, BreakerOpen, ForeignBreaker
from shared.resilience.events import Event, StateTransition
from shared.resilience.testing import FakeClock
from tests.unit.resilience.breakers import BusinessError, DownError, make
from tests.unit.resilience.dependencies import Dependency


class Listener(aiobreaker.CircuitBreakerListener):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def before_call(self, breaker: Any, func: Any, *args: Any, **kwargs: Any) -> None:
        self.told.append(("before_call", args, kwargs))

    def failure(self, breaker: Any, exception: Exception) -> None:
        self.told.append(("failure", type(exception).__name__))

    def success(self, breaker: Any) -> None:
        self.told.append("success")

    def state_change(self, breaker: Any, old: Any, new: Any) -> None:
        self.told.append((old.state.name, new.state.name))


class BadListener(Listener):
    """Raises at every occasion."""

    def before_call(self, breaker: Any, func: Any, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("listener")

    failure = success = state_change = before_call  # type: ignore[assignment]


def ours(clock: FakeClock, **options: Any) -> AioBreaker:
    """Opens at 3 failures of 3."""
    breaker = make(clock, minimum_number_of_calls=3, ignore_exceptions=(BusinessError,))
    return AioBreaker(breaker, clock=clock, **options)


async def down() -> None:
    raise DownError


async def fine(value: int = 1) -> int:
    return value


async def fail(breaker: AioBreaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(DownError):
            await breaker.call_async(down)


async def open_up(breaker: AioBreaker) -> None:
    await fail(breaker, 2)
    with pytest.raises(aiobreaker.CircuitBreakerError):
        await breaker.call_async(down)


class TestOurs:
    """Our breaker passing for theirs."""

    async def test_it_is_an_aiobreaker(self, clock: FakeClock) -> None:
        breaker = ours(clock)
        assert isinstance(breaker, aiobreaker.CircuitBreaker)
        assert (breaker.name, breaker.current_state, breaker.state.state) == (
            "payment",
            aiobreaker.CircuitBreakerState.CLOSED,
            aiobreaker.CircuitBreakerState.CLOSED,
        )
        assert await breaker.call_async(fine, 7) == 7

    async def test_the_call_that_opens_it_and_those_after_it_raise_aiobreakers_error(self, clock: FakeClock) -> None:
        breaker = ours(clock)
        await fail(breaker, 2)
        assert breaker.fail_counter == 2
        with pytest.raises(aiobreaker.CircuitBreakerError) as opening:
            await breaker.call_async(down)
        assert isinstance(opening.value.__cause__, DownError)
        assert breaker.current_state is aiobreaker.CircuitBreakerState.OPEN
        with pytest.raises(aiobreaker.CircuitBreakerError) as refused:
            await breaker.call_async(fine)
        assert timedelta(seconds=4) < refused.value.time_remaining <= timedelta(seconds=5)
        # Our own handlers understand it too; only the second was never sent.
        assert isinstance(refused.value, CallNotPermitted)
        assert [error.value.attempted for error in (opening, refused) if isinstance(error.value, BreakerOpen)] == [
            True,
            False,
        ]

    async def test_the_opening_call_can_raise_its_own_error(self, clock: FakeClock) -> None:
        breaker = ours(clock, throw_new_error_on_trip=False)
        await fail(breaker, 3)
        assert breaker.current_state is aiobreaker.CircuitBreakerState.OPEN

    async def test_half_open_admits_the_permitted_trials_only(self, clock: FakeClock) -> None:
        breaker = ours(clock)
        await open_up(breaker)
        clock.tick(5)
        go_on = asyncio.Event()
        calls = [asyncio.create_task(breaker.call_async(go_on.wait)) for _ in range(50)]
        await clock.settle()
        assert breaker.current_state is aiobreaker.CircuitBreakerState.HALF_OPEN
        go_on.set()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert (answers.count(True), sum(isinstance(answer, BreakerOpen) for answer in answers)) == (3, 47)
        assert breaker.current_state is aiobreaker.CircuitBreakerState.CLOSED

    async def test_its_listeners_hear_of_calls_and_transitions(self, clock: FakeClock) -> None:
        listener = Listener()
        breaker = ours(clock, listeners=[listener])
        await breaker.call_async(fine, value=3)
        await fail(breaker, 1)
        breaker.open()
        breaker.half_open()
        breaker.close()
        assert listener.told == [
            ("before_call", (), {"value": 3}),
            "success",
            ("before_call", (), {}),
            ("failure", "DownError"),
            ("CLOSED", "OPEN"),
            ("OPEN", "HALF_OPEN"),
            ("HALF_OPEN", "CLOSED"),
        ]
        breaker.remove_listener(listener)
        await breaker.call_async(fine)
        assert len(listener.told) == 7

    async def test_calls_by_our_own_interface_are_heard_too(self, clock: FakeClock) -> None:
        breaker, listener = ours(clock), Listener()
        breaker.add_listeners(listener)
        await breaker.breaker.call(fine)
        assert listener.told == ["success"]

    async def test_a_listener_that_raises_changes_nothing(self, clock: FakeClock) -> None:
        breaker = ours(clock, listeners=[BadListener()])
        assert await breaker.call_async(fine) == 1
        await fail(breaker, 1)
        breaker.open()
        assert breaker.breaker.state is State.OPEN

    async def test_what_is_excluded_is_not_recorded(self, clock: FakeClock) -> None:
        breaker = ours(clock, exclude=[KeyError, lambda error: "later" in str(error)])
        for error in (KeyError("x"), OSError("later"), BusinessError()) * 3:
            with pytest.raises(type(error)):
                await breaker.call_async(Dependency(clock, error))
        assert breaker.fail_counter == 0
        assert breaker.breaker.snapshot().buffered_calls == 0
        breaker.add_excluded_exception(DownError)
        await fail(breaker, 5)
        breaker.remove_excluded_exception(DownError)
        assert DownError not in breaker.excluded_exceptions
        assert BusinessError in breaker.excluded_exceptions
        await fail(breaker, 1)
        assert breaker.fail_counter == 1

    async def test_what_is_excluded_does_not_close_a_half_open_breaker(self, clock: FakeClock) -> None:
        breaker = ours(clock, exclude=[KeyError])
        breaker.half_open()
        for _ in range(10):
            with pytest.raises(KeyError):
                await breaker.call_async(Dependency(clock, KeyError()))
        assert breaker.current_state is aiobreaker.CircuitBreakerState.HALF_OPEN

    async def test_a_cancelled_call_gives_its_permit_back(self, clock: FakeClock) -> None:
        breaker = ours(clock)
        breaker.half_open()
        for _ in range(5):
            call = asyncio.create_task(breaker.call_async(asyncio.Event().wait))
            await clock.settle()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert await breaker.call_async(fine) == 1

    async def test_it_decorates_plain_functions_coroutine_functions_and_generators(self, clock: FakeClock) -> None:
        breaker = ours(clock)

        @breaker
        def plain() -> int:
            return 1

        @breaker
        async def coroutine() -> int:
            return 2

        @breaker(ignore_on_call=False)
        def numbers() -> Any:
            yield 3
            yield 4

        assert (plain(), await coroutine(), list(numbers())) == (1, 2, [3, 4])
        assert breaker.breaker.snapshot().successful.calls == 3
        # A decorated function that is called through the breaker is guarded once.
        assert await breaker.call_async(coroutine) == 2
        assert breaker.call(plain) == 1
        assert breaker.breaker.snapshot().successful.calls == 5

    async def test_a_generator_that_fails_or_is_dropped_is_recorded_for_what_it_is(self, clock: FakeClock) -> None:
        breaker = ours(clock)

        def broken() -> Any:
            yield 1
            raise DownError

        with pytest.raises(DownError):
            list(breaker.call(broken))
        assert breaker.fail_counter == 1
        breaker.half_open()
        dropped = breaker.call(broken)
        assert next(dropped) == 1
        dropped.close()
        assert [breaker.breaker.try_acquire() is not None for _ in range(4)] == [True, True, True, False]

    async def test_a_coroutine_function_is_guarded_by_call_as_well(self, clock: FakeClock) -> None:
        breaker = ours(clock)
        with pytest.raises(DownError):
            await breaker.call(down)
        assert breaker.fail_counter == 1

    async def test_waits_are_told_in_local_time(self, clock: FakeClock) -> None:
        breaker = ours(clock)
        assert (breaker.opens_at, breaker.time_until_open) == (None, None)
        breaker.open()
        assert breaker.time_until_open == timedelta(seconds=5)
        assert breaker.opens_at is not None
        local = datetime.now()  # noqa: DTZ005 - as aiobreaker has it
        assert abs(breaker.opens_at - local - timedelta(seconds=5)) < timedelta(seconds=1)
        await clock.run(breaker.sleep_until_open())
        assert breaker.time_until_open is None
        await breaker.sleep_until_open()

    async def test_settings_are_read_and_the_timeout_can_be_set(self, clock: FakeClock) -> None:
        breaker = ours(clock)
        # 50 % of at least 3 calls: the second failure of three may open it.
        assert (breaker.fail_max, breaker.timeout_duration) == (2, timedelta(seconds=5))
        breaker.timeout_duration = timedelta(seconds=9)
        breaker.open()
        assert breaker.time_until_open == timedelta(seconds=9)
        with pytest.raises(AttributeError):
            breaker.fail_max = 3  # type: ignore[misc]

    async def test_states_that_aiobreaker_does_not_know_show_as_the_nearest(self, clock: FakeClock) -> None:
        breaker = ours(clock)
        breaker.breaker.transition_to_forced_open()
        assert breaker.current_state is aiobreaker.CircuitBreakerState.OPEN
        breaker.breaker.transition_to_disabled()
        assert breaker.current_state is aiobreaker.CircuitBreakerState.CLOSED


class TestTheirs:
    """An aiobreaker in a pipeline of ours."""

    def test_it_is_a_breaker(self) -> None:
        assert isinstance(ForeignBreaker(aiobreaker.CircuitBreaker(name="stock")), CircuitBreaker)

    async def test_it_decides_and_we_measure(self, clock: FakeClock) -> None:
        theirs = aiobreaker.CircuitBreaker(fail_max=3, timeout_duration=timedelta(seconds=60), name="stock")
        breaker = ForeignBreaker(theirs, clock=clock)
        pipeline = Pipeline("stock", circuit_breaker=breaker, clock=clock)
        heard: list[Event] = []
        pipeline.subscribe(heard.append, StateTransition)

        assert await pipeline.call(fine, 4) == 4
        for _ in range(3):
            with pytest.raises(DownError):
                await pipeline.call(down)
        with pytest.raises(CallNotPermitted) as refused:
            await pipeline.call(fine)

        assert (theirs.current_state, breaker.state) == (aiobreaker.CircuitBreakerState.OPEN, State.OPEN)
        assert 55 < refused.value.retry_after <= 60
        snapshot = breaker.snapshot()
        assert (snapshot.state, snapshot.failed.calls, snapshot.successful.calls, snapshot.not_permitted_calls) == (
            State.OPEN,
            3,
            1,
            1,
        )
        assert [(event.before, event.after) for event in heard if isinstance(event, StateTransition)] == [
            ("closed", "open")
        ]

    async def test_after_its_timeout_a_success_closes_it(self, clock: FakeClock) -> None:
        theirs = aiobreaker.CircuitBreaker(fail_max=1, timeout_duration=timedelta(microseconds=1))
        breaker = ForeignBreaker(theirs, name="stock", clock=clock)
        with pytest.raises(DownError):
            await breaker.call(down)
        assert breaker.state is State.OPEN
        assert await breaker.call(fine) == 1
        assert breaker.state is State.CLOSED

    async def test_a_retry_around_it_sees_the_real_error(self, clock: FakeClock) -> None:
        theirs = aiobreaker.CircuitBreaker(fail_max=1, timeout_duration=timedelta(microseconds=1))
        pipeline = Pipeline(
            "stock",
            retry=RetryConfig(retry_exceptions=(DownError,)),
            circuit_breaker=ForeignBreaker(theirs, clock=clock),
            clock=clock,
        )
        assert await clock.run(pipeline.call(Dependency(clock, DownError(), 5), idempotent=True)) == 5

    async def test_its_listeners_are_told_and_cannot_do_harm(self, clock: FakeClock) -> None:
        listener = Listener()
        theirs = aiobreaker.CircuitBreaker(listeners=[listener])
        breaker = ForeignBreaker(theirs, clock=clock)
        await breaker.call(fine, 3)
        assert listener.told == [("before_call", (3,), {}), "success"]
        theirs.add_listener(BadListener())
        assert await breaker.call(fine) == 1
        with pytest.raises(DownError):
            await breaker.call(down)

    async def test_it_can_be_moved_by_hand_between_the_states_that_it_has(self, clock: FakeClock) -> None:
        breaker = ForeignBreaker(aiobreaker.CircuitBreaker(name="stock"), clock=clock)
        breaker.transition_to_open()
        assert breaker.state is State.OPEN
        breaker.transition_to_half_open()
        breaker.reset()
        assert breaker.state is State.CLOSED
        with pytest.raises(IllegalTransitionError):
            breaker.transition_to_disabled()

    async def test_cancellation_says_nothing(self, clock: FakeClock) -> None:
        breaker = ForeignBreaker(aiobreaker.CircuitBreaker(fail_max=1), clock=clock)
        call = asyncio.create_task(breaker.call(asyncio.Event().wait))
        await clock.settle()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (breaker.state, breaker.snapshot().buffered_calls) == (State.CLOSED, 0)
