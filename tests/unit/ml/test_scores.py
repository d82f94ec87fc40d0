"""Figures of a probability, on cases whose answer is known."""

import numpy as np
import pytest

from ml.evaluation.scores import brier_skill, calibration_error, interval, pr_auc


def test_a_perfect_order_is_one_and_a_constant_is_the_base_rate() -> None:
    positive = np.array([True] * 10 + [False] * 90)
    assert pr_auc(positive, positive.astype(float)) == 1
    assert pr_auc(positive, np.full(100, 0.3)) == pytest.approx(0.1)


def test_an_unknown_score_is_the_lowest() -> None:
    assert pr_auc(np.array([True, False]), np.array([np.nan, 0.1])) == pytest.approx(0.5)
    assert pr_auc(np.array([True, False]), np.array([0.1, np.nan])) == 1


def test_saying_the_base_rate_has_no_skill() -> None:
    positive = np.array([True] * 25 + [False] * 75)
    assert brier_skill(positive, np.full(100, 0.25)) == pytest.approx(0)
    assert brier_skill(positive, positive.astype(float)) == 1
    assert brier_skill(positive, 1 - positive.astype(float)) < 0


def test_the_calibration_error_is_the_gap() -> None:
    positive = np.array([True] * 20 + [False] * 80)
    assert calibration_error(positive, np.full(100, 0.2)) == pytest.approx(0)
    assert calibration_error(positive, np.full(100, 0.6)) == pytest.approx(0.4)


def test_an_interval_holds_the_figure_and_is_wider_for_fewer_blocks() -> None:
    random = np.random.default_rng(1)
    values = np.repeat(random.normal(size=40), 25)  # rows of one block say the same
    blocks = [np.arange(start, start + 25) for start in range(0, 1000, 25)]
    few = interval(lambda chosen: float(values[chosen].mean()), blocks)
    single = interval(lambda chosen: float(values[chosen].mean()), [np.array([index]) for index in range(1000)])
    assert few.low < few.value < few.high
    assert few.high - few.low > 3 * (single.high - single.low)
