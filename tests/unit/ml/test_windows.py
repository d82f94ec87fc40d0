"""Features of windows: what they say of known curves, and that a row knows nothing of its future."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.features.signals import NAMES, SIGNALS
from ml.features.windows import FEATURES, HISTORY, features


def signals(minutes: int, **curves: np.ndarray) -> np.ndarray:
    table = np.full((minutes, len(SIGNALS)), 0.1)
    for name, curve in curves.items():
        table[:, NAMES.index(name)] = curve
    return table


def feature(table: np.ndarray, name: str) -> np.ndarray:
    return table[:, FEATURES.index(name)]


def test_a_straight_leak_has_its_slope_and_its_time_to_the_limit() -> None:
    memory = 0.2 + 0.01 * np.arange(40)
    found = features(signals(40, memory=memory))
    assert feature(found, "memory.slope_15") == pytest.approx(0.01)
    assert feature(found, "memory.slope_30") == pytest.approx(0.01)
    level = feature(found, "memory.level")
    assert feature(found, "memory.to_limit") == pytest.approx((1.0 - level) / 0.01)
    assert (feature(found, "memory.t_15") == 50).all()
    assert feature(found, "soonest") == pytest.approx((1.0 - level) / 0.01)
    assert feature(found, "rising").tolist() == [1.0] * len(found)


def test_the_delta_is_over_ten_minutes() -> None:
    found = features(signals(HISTORY, cpu=np.arange(HISTORY) * 0.02))
    assert feature(found, "cpu.delta")[0] == pytest.approx(0.2)


def test_a_signal_over_its_limit_has_no_time_left() -> None:
    found = features(signals(HISTORY, memory=np.full(HISTORY, 1.2)))
    assert feature(found, "memory.to_limit")[0] == 0


def test_a_signal_that_stays_is_neither_rising_nor_spread() -> None:
    found = features(signals(HISTORY))
    assert feature(found, "rising")[0] == 0
    assert feature(found, "memory.spread")[0] == 1
    assert feature(found, "memory.to_limit")[0] == 120


def test_gaps_stay_gaps() -> None:
    memory = np.full(HISTORY, 0.5)
    memory[-4:] = np.nan
    found = features(signals(HISTORY, memory=memory))
    assert np.isnan(feature(found, "memory.level")[0])
    assert feature(found, "memory.missing")[0] == pytest.approx(4 / 30)
    assert feature(found, "memory.slope_30")[0] == pytest.approx(0, abs=1e-12)
    empty = features(signals(HISTORY, memory=np.full(HISTORY, np.nan)))
    assert all(np.isnan(feature(empty, f"memory.{name}")[0]) for name in ("level", "slope_15", "t_30", "to_limit"))


def test_a_slope_over_gaps_is_that_of_the_known_minutes() -> None:
    memory = 0.2 + 0.01 * np.arange(HISTORY, dtype=float)
    memory[[-3, -8, -11]] = np.nan
    assert feature(features(signals(HISTORY, memory=memory)), "memory.slope_15")[0] == pytest.approx(0.01)


@given(seed=st.integers(0, 2**32 - 1), gaps=st.floats(0, 0.6))
@settings(max_examples=25, deadline=None)
def test_a_row_depends_on_its_own_thirty_minutes_only(seed: int, gaps: float) -> None:
    random = np.random.default_rng(seed)
    table = random.normal(size=(60, len(SIGNALS))).cumsum(axis=0)
    table[random.random(table.shape) < gaps] = np.nan
    whole = features(table)
    for row in (0, 11, 30):
        alone = features(table[row : row + HISTORY])
        np.testing.assert_allclose(alone[0], whole[row], rtol=1e-9, atol=1e-9)
        future_changed = table.copy()
        future_changed[row + HISTORY :] = 1e6
        np.testing.assert_array_equal(features(future_changed)[row], whole[row])


def test_too_short_a_history_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 30 minutes"):
        features(signals(HISTORY - 1))
