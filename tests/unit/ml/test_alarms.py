"""Alarms: when they begin and end, and what each is counted as."""

import math

import numpy as np
import pytest

from ml.datasets.recording import Series
from ml.evaluation.alarms import Alarm, alarms, judge, level_for, together
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


def test_the_level_is_the_lowest_before_the_budget_is_exceeded() -> None:
    watched = series(1440)
    probability = np.linspace(0.0, 0.2, 1440)
    probability[100:110], probability[500:510], probability[900:910] = 0.3, 0.5, 0.7
    assert 0.3 < level_for([watched], [probability], 2.0, TWO_OF_THREE) <= 0.5
    assert 0.5 < level_for([watched], [probability], 1.0, TWO_OF_THREE) <= 0.7


def test_an_alarm_that_never_ends_is_no_way_to_keep_to_the_budget() -> None:
    watched = series(1440)
    probability = np.full(1440, 0.2)
    probability[100:110], probability[500:510], probability[900:910] = 0.7, 0.7, 0.7
    assert judge([watched], [probability], 0.1, TWO_OF_THREE)["all"].in_vain == 1
    assert judge([watched], [probability], 0.1, TWO_OF_THREE)["all"].share_alarmed > 0.99
    assert level_for([watched], [probability], 1.0, TWO_OF_THREE) > 0.7


def test_parts_judged_apart_are_together_what_the_whole_is() -> None:
    parts = [series(200, Breach(100, 110)), series(300, Breach(200, 210)), series(100)]
    said = [curve(200, range(79, 100)), curve(300, range(100, 110)), curve(100, range(50, 60))]
    apart = [judge([part], [each], 0.5, TWO_OF_THREE) for part, each in zip(parts, said, strict=True)]
    assert together(apart) == judge(parts, said, 0.5, TWO_OF_THREE)


def test_without_any_breach_recall_is_unknown_not_perfect() -> None:
    tally = judge([series(100)], [np.zeros(100)], 0.5)
    assert math.isnan(tally["all"].recall)
