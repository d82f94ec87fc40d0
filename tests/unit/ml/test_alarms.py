"""Alarms: when they begin and end, and what each is counted as."""

import math

import numpy as np
import pytest

from ml.datasets.recording import Series
from ml.evaluation.alarms import Alarm, alarms, judge, threshold_for
from ml.features.signals import SIGNALS
from ml.labels import Breach
from ml.persistence import Persistence

TWO_OF_THREE = Persistence(k=2, n=3)


def series(minutes: int, *found: Breach, kind: tuple[str, str] = ("memory-leak", "gradual")) -> Series:
    return Series("run", "order", 0.0, np.zeros((minutes, len(SIGNALS))), found, (kind,) * len(found))


def curve(minutes: int, *high: range) -> np.ndarray:
    found = np.zeros(minutes)
    for part in high:
        found[list(part)] = 0.9
    return found


def test_one_minute_over_the_threshold_is_no_alarm() -> None:
    assert alarms(curve(20, range(5, 6)), 0.5, TWO_OF_THREE) == []


def test_an_alarm_begins_with_the_second_of_three_and_ends_when_three_are_calm() -> None:
    assert alarms(curve(20, range(5, 9)), 0.5, TWO_OF_THREE) == [Alarm(6, 11)]


def test_an_unknown_minute_neither_raises_nor_ends_an_alarm() -> None:
    probability = curve(20, range(5, 9))
    probability[9:] = np.nan
    assert alarms(probability, 0.5, TWO_OF_THREE) == [Alarm(6, 20)]
    assert alarms(np.full(20, np.nan), 0.5, TWO_OF_THREE) == []


def test_a_breach_with_an_alarm_before_it_is_caught_with_its_lead() -> None:
    tally = judge([series(200, Breach(100, 110))], [curve(200, range(79, 100))], 0.5, TWO_OF_THREE)
    assert tally["all"].leads == [20.0]
    assert tally["gradual"].recall == tally["memory-leak"].recall == 1
    assert tally["all"].in_vain == 0


def test_an_alarm_that_ended_half_an_hour_before_is_in_vain() -> None:
    tally = judge([series(300, Breach(200, 210))], [curve(300, range(100, 110))], 0.5, TWO_OF_THREE)
    assert tally["all"].missed == 1
    assert tally["all"].in_vain == 1
    assert tally["all"].in_vain_per_day == pytest.approx(1440 / (300 - 15))


def test_an_alarm_inside_a_breach_warns_of_nothing() -> None:
    tally = judge([series(200, Breach(100, 120))], [curve(200, range(100, 120))], 0.5, TWO_OF_THREE)
    assert (tally["all"].missed, tally["all"].in_vain) == (1, 0)


def test_the_threshold_is_the_lowest_within_the_budget() -> None:
    watched = series(1440)
    probability = np.zeros(1440)
    probability[100:110], probability[500:510], probability[900:910] = 0.3, 0.5, 0.7
    assert threshold_for([watched], [probability], 1.0, TWO_OF_THREE) == pytest.approx(0.51)
    assert threshold_for([watched], [probability], 0.0, TWO_OF_THREE) == pytest.approx(0.71)


def test_without_any_breach_recall_is_unknown_not_perfect() -> None:
    tally = judge([series(100)], [np.zeros(100)], 0.5)
    assert math.isnan(tally["all"].recall)
