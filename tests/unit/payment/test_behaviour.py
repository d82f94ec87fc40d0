"""The simulated network's behaviour: its distributions, and the switch that reverts by itself."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.payment.behaviour import Behaviour, BehaviourSwitch, Loss


def test_latencies_have_the_median_and_the_99th_percentile_asked_for() -> None:
    behaviour, random = Behaviour(latency_median_ms=40.0, latency_p99_ms=400.0), Random(1)
    drawn = sorted(behaviour.latency_seconds(random) for _ in range(20_000))

    assert drawn[10_000] == pytest.approx(0.040, rel=0.05)
    assert drawn[19_800] == pytest.approx(0.400, rel=0.15)


def test_equal_median_and_99th_percentile_are_a_constant_latency() -> None:
    behaviour = Behaviour(latency_median_ms=25.0, latency_p99_ms=25.0)

    assert {behaviour.latency_seconds(Random(seed)) for seed in range(50)} == {0.025}


def test_no_latency_is_no_latency() -> None:
    assert Behaviour().latency_seconds(Random(1)) == 0.0


@given(requests=st.floats(0, 1), share=st.floats(0, 1))
def test_losses_of_both_kinds_come_at_their_rates(requests: float, share: float) -> None:
    answers = (1 - requests) * share
    behaviour, random = Behaviour(lost_requests=requests, lost_answers=answers), Random(3)
    drawn = [behaviour.loss(random) for _ in range(2_000)]

    assert drawn.count(Loss.REQUEST) / 2_000 == pytest.approx(requests, abs=0.06)
    assert drawn.count(Loss.ANSWER) / 2_000 == pytest.approx(answers, abs=0.06)


def test_one_seed_is_one_run() -> None:
    behaviour = Behaviour(latency_median_ms=5.0, latency_p99_ms=50.0, lost_requests=0.3)
    runs = [[(behaviour.latency_seconds(r), behaviour.loss(r)) for _ in range(20)] for r in (Random(9), Random(9))]

    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    "values",
    [
        {"latency_median_ms": 5.0, "latency_p99_ms": 4.0},
        {"lost_requests": 0.7, "lost_answers": 0.7},
        {"lost_requests": -0.1},
        {"latency_median_ms": float("nan")},
        {"latency_p99_ms": float("inf")},
        {"speed": 1.0},
    ],
)
def test_what_is_no_behaviour_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Behaviour(**values)


class HandClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_switch_with_a_time_to_live_reverts_by_itself() -> None:
    clock, configured, poor = HandClock(), Behaviour(), Behaviour(lost_answers=1.0)
    switch = BehaviourSwitch(configured, monotonic=clock)

    switch.switch(poor, seconds=30)
    clock.now += 29.9
    assert switch.current() is poor
    assert switch.reverts_in_seconds() == pytest.approx(0.1)
    clock.now += 0.1
    assert switch.current() is configured
    assert switch.reverts_in_seconds() is None


def test_a_switch_without_a_time_to_live_stays() -> None:
    clock, poor = HandClock(), Behaviour(lost_answers=1.0)
    switch = BehaviourSwitch(Behaviour(), monotonic=clock)

    switch.switch(poor)
    clock.now += 1e9
    assert switch.current() is poor
    assert switch.reverts_in_seconds() is None


def test_a_later_switch_forgets_the_time_to_live_of_the_one_before() -> None:
    clock, poor = HandClock(), Behaviour(lost_answers=1.0)
    switch = BehaviourSwitch(Behaviour(), monotonic=clock)

    switch.switch(Behaviour(lost_requests=1.0), seconds=10)
    switch.switch(poor)
    clock.now += 11
    assert switch.current() is poor
