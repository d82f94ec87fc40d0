"""Faults on purpose: where they act, how they end, and what is refused."""

import asyncio
from typing import Any

import httpx
import pydantic
import pytest

from shared.resilience import (
    AttemptTimeout,
    BulkheadConfig,
    BulkheadFull,
    CircuitBreakerConfig,
    Fault,
    FaultRefused,
    Pipeline,
    RetryConfig,
    State,
)
from shared.resilience.events import FaultEnded, FaultInjected, FaultStruck, RetrySucceeded
from shared.resilience.testing import FakeClock, seeded_random
from tests.unit.resilience.dependencies import Dependency, DownError, kinds


def make(clock: FakeClock, **layers: Any) -> Pipeline:
    return Pipeline("stock", clock=clock, random=seeded_random(), **layers)


async def took(clock: FakeClock, pipeline: Pipeline) -> float:
    before = clock.monotonic()
    assert await clock.run(pipeline.call(Dependency(clock, 7))) == 7
    return clock.monotonic() - before


async def test_latency_is_fixed_or_spread_evenly(clock: FakeClock) -> None:
    pipeline = make(clock)
    fault = pipeline.faults.inject(Fault(latency=0.3), seconds=60)
    assert await took(clock, pipeline) == pytest.approx(0.3)
    pipeline.faults.clear(fault)
    pipeline.faults.inject(Fault(latency=0.1, jitter=0.4), seconds=600)
    times = [await took(clock, pipeline) for _ in range(200)]
    assert min(times) >= 0.1
    assert max(times) <= 0.5
    assert sum(times) / 200 == pytest.approx(0.3, abs=0.02)


async def test_an_error_a_result_and_a_behaviour_take_the_place_of_the_call(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, 7)
    fault = pipeline.faults.inject(Fault(error=httpx.ConnectError), seconds=9)
    with pytest.raises(httpx.ConnectError, match="injected into stock by fault-1"):
        await pipeline.call(dependency)
    pipeline.faults.clear(fault)
    fault = pipeline.faults.inject(Fault(result=None), seconds=9)
    assert await pipeline.call(dependency) is None
    pipeline.faults.clear(fault)
    assert dependency.calls == 0

    async def twice(call: Any) -> list:
        return [await call(), await call()]

    pipeline.faults.inject(Fault(behaviour=twice), seconds=9)
    assert await pipeline.call(dependency) == [7, 7]


async def test_the_rate_is_the_share_of_attempts_that_are_struck(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, 7)
    pipeline.faults.inject(Fault(error=DownError, rate=0.25), seconds=60)
    outcomes = [kinds(await asyncio.gather(pipeline.call(dependency), return_exceptions=True))[0] for _ in range(2000)]
    assert outcomes.count("DownError") == pytest.approx(500, abs=50)
    assert pipeline.faults.snapshot()[0].struck == outcomes.count("DownError")
    # The same seed, the same fate.
    again = make(clock)
    again.faults.inject(Fault(error=DownError, rate=0.25), seconds=60)
    assert outcomes == [
        kinds(await asyncio.gather(again.call(dependency), return_exceptions=True))[0] for _ in range(2000)
    ]


async def test_several_faults_act_one_after_the_other(clock: FakeClock) -> None:
    pipeline = make(clock)
    pipeline.faults.inject(Fault(latency=0.2), seconds=9)
    pipeline.faults.inject(Fault(latency=0.3, error=DownError), seconds=9)
    with pytest.raises(DownError):
        await clock.run(pipeline.call(Dependency(clock, 7)))
    assert clock.monotonic() == pytest.approx(1000.5)


async def test_a_fault_ends_by_itself(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, 7)
    pipeline.faults.inject(Fault(error=DownError), seconds=30)
    await clock.advance(29.9)
    [active] = pipeline.faults.snapshot()
    assert (active.id, active.remaining) == ("fault-1", pytest.approx(0.1))
    await clock.advance(0.1)
    assert pipeline.faults.snapshot() == []
    assert await pipeline.call(dependency) == 7
    assert kinds(pipeline.recent_events()) == ["FaultInjected", "FaultEnded"]
    assert clock.pending == 0


def test_a_fault_that_is_injected_before_the_loop_runs_ends_as_well(clock: FakeClock) -> None:
    class Loopless(FakeClock):
        def call_later(self, *_: Any) -> Any:
            raise RuntimeError("no running event loop")

    still = Loopless()
    pipeline = make(still)
    for _ in range(20):
        pipeline.faults.inject(Fault(error=DownError), seconds=30)
    still.tick(30)
    assert pipeline.faults.inject(Fault(latency=9), seconds=1) == "fault-21"
    still.tick(1)
    assert asyncio.run(pipeline.call(Dependency(still, 7))) == 7
    assert not pipeline.faults.active


async def test_without_a_fault_the_layer_is_not_in_the_chain(clock: FakeClock) -> None:
    pipeline = make(clock)
    chain = repr(pipeline._chain)
    fault = pipeline.faults.inject(Fault(latency=0.1), seconds=9)
    assert "Faults" in repr(pipeline._chain)
    assert pipeline.faults.clear(fault) == 1
    assert repr(pipeline._chain) == chain
    assert "Faults" not in chain


async def test_all_other_layers_see_the_fault_as_they_would_see_the_real_thing(clock: FakeClock) -> None:
    pipeline = make(
        clock,
        retry=RetryConfig(max_attempts=2, wait_duration=0.1),
        circuit_breaker=CircuitBreakerConfig(sliding_window_size=2, minimum_number_of_calls=2),
        bulkhead=BulkheadConfig(max_concurrent_calls=1),
        timeout=0.5,
        idempotent=True,
    )
    dependency = Dependency(clock, 7)
    pipeline.faults.inject(Fault(latency=9), seconds=600)
    slow = asyncio.create_task(pipeline.call(dependency))
    await clock.settle()
    with pytest.raises(BulkheadFull):
        await pipeline.call(dependency)
    with pytest.raises(AttemptTimeout):
        await clock.run(_one(slow))
    assert pipeline.retry.snapshot().attempts == 1
    assert pipeline.circuit_breaker.state is State.OPEN
    assert dependency.calls == 0


async def _one(task: asyncio.Task) -> Any:
    return await task


async def test_a_retry_gets_past_a_fault_that_strikes_some_attempts(clock: FakeClock) -> None:
    pipeline = make(clock, retry=RetryConfig(max_attempts=9, wait_duration=0.1), idempotent=True)
    pipeline.faults.inject(Fault(error=DownError, rate=0.99), seconds=60)
    pipeline.faults.clear()
    pipeline.faults.inject(Fault(error=DownError, rate=0.5), seconds=60)
    for _ in range(20):
        await clock.run(pipeline.call(Dependency(clock, 7)))
    events = pipeline.recent_events()
    assert any(isinstance(event, RetrySucceeded) for event in events)
    assert sum(isinstance(event, FaultStruck) for event in events) == pipeline.retry.snapshot().attempts


@pytest.mark.parametrize("seconds", [None, 0, -1, float("nan"), float("inf"), 600.1])
def test_a_fault_without_a_reasonable_time_to_live_is_refused(clock: FakeClock, seconds: float | None) -> None:
    with pytest.raises(FaultRefused):
        make(clock).faults.inject(Fault(latency=1), seconds)


def test_there_are_only_so_many_faults_at_once(clock: FakeClock) -> None:
    faults = make(clock).faults
    for _ in range(20):
        faults.inject(Fault(latency=1), seconds=9)
    with pytest.raises(FaultRefused, match="20 faults already"):
        faults.inject(Fault(latency=1), seconds=9)
    assert faults.clear() == 20
    assert faults.clear() == 0
    assert faults.clear("fault-7") == 0


async def test_a_layer_that_is_switched_off_refuses_faults_and_ignores_those_it_has(clock: FakeClock) -> None:
    pipeline = make(clock)
    pipeline.faults.inject(Fault(error=DownError), seconds=9)
    pipeline.switch("faults", False)
    assert await pipeline.call(Dependency(clock, 7)) == 7
    with pytest.raises(FaultRefused, match="switched off"):
        pipeline.faults.inject(Fault(error=DownError), seconds=9)
    pipeline.switch("faults", True)
    with pytest.raises(DownError):
        await pipeline.call(Dependency(clock, 7))


class PickyError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "a fault that does nothing"),
        ({"error": DownError, "result": 7}, "one outcome at a time: error and result"),
        ({"error": PickyError}, "PickyError cannot be made from a text"),
        ({"error": "no.such.Error"}, "'no.such.Error' is unknown"),
        ({"error": "asyncio.CancelledError"}, "is not an Exception class"),
        ({"latency": -1}, "greater than or equal to 0"),
        ({"latency": 1, "rate": 0}, "greater than 0"),
        ({"latency": 1, "rate": 1.1}, "less than or equal to 1"),
        ({"behaviour": "os.abort"}, "should be callable"),
        ({"delay": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        Fault(**settings)


def test_a_fault_can_be_read_from_data_and_says_what_it_is() -> None:
    fault = Fault.model_validate({"latency": "300ms", "jitter": "1s", "error": "httpx.ConnectError", "rate": 0.5})
    assert fault.what == "latency 0.3 s + up to 1 s, error ConnectError, 0.5 of attempts"
    assert Fault(result=None).what == "result NoneType"


async def test_events_tell_of_every_fault(clock: FakeClock) -> None:
    pipeline = make(clock)
    fault = pipeline.faults.inject(Fault(result=7), seconds=9)
    await pipeline.call(Dependency(clock, 1))
    assert clock.pending == 1
    pipeline.faults.clear(fault)
    assert clock.pending == 0
    assert pipeline.recent_events() == [
        FaultInjected("stock", 1000, "fault-1", "result int", 9),
        FaultStruck("stock", 1000, "fault-1", "result int"),
        FaultEnded("stock", 1000, "fault-1", "cleared"),
    ]
