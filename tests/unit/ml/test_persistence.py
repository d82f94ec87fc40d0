"""The warner, minute by minute, against its definition over whole windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.evaluation.alarms import alarms
from ml.persistence import Persistence, Warner

MINUTES = st.lists(st.one_of(st.just(float("nan")), st.floats(0, 1)), max_size=60)
RULES = st.integers(1, 6).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n)))


def defined(probability: list[float], threshold: float, k: int, n: int) -> list[bool]:
    """The rule as it is written, looking at the whole window at every minute."""
    column = np.array(probability, dtype=float)
    found: list[bool] = []
    for minute in range(len(column)):
        window = column[max(0, minute + 1 - n) : minute + 1]
        if found and found[-1]:
            found.append(not all(window < threshold / 2))
        else:
            found.append(int((window >= threshold).sum()) >= k)
    return found


@given(MINUTES, st.floats(0.05, 0.95), RULES)
def test_the_warner_and_the_evaluation_s_alarms_keep_to_the_rule(
    probability: list[float], threshold: float, rule: tuple[int, int]
) -> None:
    warner = Warner(threshold, Persistence(*rule))
    stepped = [warner.step(each) for each in probability]
    active = [False] * len(probability)
    for alarm in alarms(np.array(probability), threshold, Persistence(*rule)):
        active[alarm.start : alarm.end] = [True] * (alarm.end - alarm.start)
    assert stepped == active == defined(probability, threshold, *rule)


@pytest.mark.parametrize("rule", [(0, 3), (4, 3), (-1, 1)])
def test_a_rule_that_can_never_or_always_hold_is_refused(rule: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="k of n"):
        Persistence(*rule)
