"""Drift: of features against training, of probabilities against what came."""

import numpy as np
import pytest

from ml.artefact import Drift
from ml.features.windows import FEATURES
from ml.predictor.drift import CalibrationDrift, FeatureDrift, stability
from ml.predictor.ledger import Outcome, Verdict

HALVES = Drift(edges=[0.5], shares=[0.5, 0.5], missing=0.0)


def test_the_index_is_nothing_for_the_same_spread_and_by_the_formula_for_another() -> None:
    assert stability(HALVES, np.array([0.2, 0.8])) == pytest.approx(0.0, abs=1e-9)
    # shares 0.8 and 0.2 against halves: (0.3) ln(1.6) + (-0.3) ln(0.4)
    assert stability(HALVES, np.array([0.1] * 8 + [0.9] * 2)) == pytest.approx(0.3 * np.log(4), abs=1e-9)


def test_a_signal_that_is_gone_has_drifted() -> None:
    assert stability(HALVES, np.full(10, np.nan)) > 1
    never = Drift(edges=[], shares=[0.0], missing=1.0)
    assert stability(never, np.full(10, np.nan)) == pytest.approx(0.0, abs=0.01)


def test_nothing_is_said_before_there_are_rows_enough() -> None:
    drift = FeatureDrift({"cpu.level": HALVES, "unheard.of": HALVES})
    row = np.zeros(len(FEATURES))
    for _ in range(299):
        drift.observe(row)
    assert drift.indices() == {}
    drift.observe(row)
    assert list(drift.indices()) == ["cpu.level"]
    assert drift.indices()["cpu.level"] > 0.25


def verdicts(count: int, probability: float, rate: float, seed: int) -> list[Verdict]:
    came = np.random.default_rng(seed).random(count) < rate
    return [Verdict("order", 0.0, probability, bool(each), Outcome.of(warned=False, came=bool(each))) for each in came]


def test_probabilities_that_hold_have_a_small_error_and_no_change() -> None:
    drift = CalibrationDrift()
    assert drift.error() is None
    assert not drift.judge(verdicts(2000, 0.2, 0.2, 1))
    assert drift.error() < 0.05


def test_probabilities_that_stop_holding_are_noticed() -> None:
    drift = CalibrationDrift()
    drift.judge(verdicts(2000, 0.1, 0.1, 1))
    assert drift.judge(verdicts(2000, 0.1, 0.7, 2))
    assert drift.error() > 0.4
