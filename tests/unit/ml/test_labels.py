"""Breaches and labels: what counts as the start of trouble, and which minutes may be learned from."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml.labels import COOL_OFF, HORIZON, LEAD, Breach, Objective, breaches, labels

QUICK = Objective(error_ratio=0.05, p99_seconds=1.0, lasts=2, heals=3)


def found(errors: list[float], p99: list[float] | None = None) -> list[Breach]:
    return breaches(np.array(errors), np.array(p99 or [0.1] * len(errors)), QUICK)


def test_two_bad_minutes_are_a_breach_and_one_is_not() -> None:
    assert found([0, 0, 1, 0, 0, 0, 0]) == []
    assert found([0, 0, 1, 1, 0, 0, 0]) == [Breach(2, 4)]


def test_a_short_pause_belongs_to_the_breach() -> None:
    assert found([0, 1, 1, 0, 0, 1, 0, 0, 0, 1, 1]) == [Breach(1, 6), Breach(9, 11)]


def test_latency_alone_is_a_breach() -> None:
    assert found([0] * 6, [0.1, 1.5, 1.5, 0.2, 0.2, 0.2]) == [Breach(1, 3)]


def test_a_gap_neither_starts_nor_ends_a_breach() -> None:
    nan = float("nan")
    assert breaches(np.array([nan] * 5), np.array([nan] * 5), QUICK) == []
    errors = np.array([0, 1, 1, nan, nan, nan, nan, 1, 0, 0, 0])
    p99 = np.where(np.isnan(errors), nan, 0.1)
    assert breaches(errors, p99, QUICK) == [Breach(1, 8)]


def test_the_twenty_minutes_before_the_lead_are_positive() -> None:
    positive, used = labels(200, [Breach(100, 110)])
    assert np.flatnonzero(positive).tolist() == list(range(100 - HORIZON, 100 - LEAD))
    assert not used[100 - LEAD : 110 + COOL_OFF].any()
    assert used[110 + COOL_OFF]


def test_minutes_whose_future_is_not_recorded_are_left_out() -> None:
    positive, used = labels(60, [])
    assert not positive.any()
    assert used[: 60 - HORIZON].all()
    assert not used[60 - HORIZON :].any()


@given(
    starts=st.lists(st.tuples(st.integers(0, 290), st.integers(1, 40)), max_size=5),
)
def test_a_used_minute_is_positive_exactly_when_a_breach_starts_in_its_horizon(starts: list[tuple[int, int]]) -> None:
    listed: list[Breach] = []
    for start, length in sorted(starts):
        if not listed or start > listed[-1].end + 5:
            listed.append(Breach(start, start + length))
    positive, used = labels(300, listed)
    for minute in np.flatnonzero(used):
        ahead = [breach.start - minute for breach in listed if breach.start > minute]
        assert positive[minute] == any(LEAD < distance <= HORIZON for distance in ahead)
        assert not any(0 < distance <= LEAD for distance in ahead)
        assert not any(breach.start <= minute < breach.end for breach in listed)


def test_one_slow_order_in_the_five_minutes_that_are_measured_together_is_no_breach() -> None:
    errors, p99 = np.zeros(40), np.full(40, 0.1)
    p99[10:15] = 2.4
    assert breaches(errors, p99, Objective()) == []
    p99[15] = 2.4
    assert breaches(errors, p99, Objective()) == [Breach(10, 16)]
