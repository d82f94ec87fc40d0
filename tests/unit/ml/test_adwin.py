"""ADWIN: what it keeps, when it lets go of the past, and how rarely it does so for nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.predictor.adwin import Adwin


def test_a_steady_stream_grows_the_window() -> None:
    adwin = Adwin()
    random = np.random.default_rng(1)
    assert not any(adwin.update(value) for value in random.uniform(0.3, 0.7, 2000))
    assert adwin.count == 2000
    assert adwin.mean == pytest.approx(0.5, abs=0.02)


def test_a_jump_of_the_mean_is_seen_and_the_past_is_dropped() -> None:
    adwin = Adwin()
    random = np.random.default_rng(2)
    for value in random.uniform(0.1, 0.3, 500):
        adwin.update(value)
    seen = [adwin.update(value) for value in random.uniform(0.6, 0.8, 300)]
    assert 0 < seen.index(True) < 40
    assert adwin.count < 400
    assert adwin.mean == pytest.approx(0.7, abs=0.03)


def test_false_alarms_are_no_more_frequent_than_was_asked() -> None:
    alarms = 0
    for seed in range(40):
        adwin = Adwin(0.05)
        alarms += any(adwin.update(value) for value in np.random.default_rng(seed).uniform(0, 1, 300))
    assert alarms <= 2


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
@settings(max_examples=50)
def test_the_window_s_mean_is_that_of_the_values_it_holds(values: list[float]) -> None:
    adwin = Adwin()
    for value in values:
        adwin.update(value)
    assert 1 <= adwin.count <= len(values)
    assert adwin.mean == pytest.approx(np.mean(values[-adwin.count :]), abs=1e-9)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_value_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="between"):
        Adwin().update(value)
