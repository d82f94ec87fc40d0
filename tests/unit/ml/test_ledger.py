"""What becomes of a prediction: by the rule of the labels, and not before its time is over."""

import numpy as np
import pytest

from ml.predictor.ledger import LOOKBACK, SETTLED, Ledger, Outcome, Promise

MINUTE = 60.0
NOW = 120 * MINUTE


def judged(made: int, *, warned: bool = True, breach: slice = slice(0, 0), gone: slice = slice(0, 0)) -> object:
    """The outcome of a prediction at a minute of the last 120, or None if it was left out."""
    ledger = Ledger("order", MINUTE)
    ledger.add(Promise(NOW - (LOOKBACK - 1 - made) * MINUTE, 0.7, warned))
    errors, p99 = np.zeros(LOOKBACK), np.full(LOOKBACK, 0.1)
    errors[breach] = 0.5
    errors[gone] = p99[gone] = np.nan
    assert ledger.due(NOW)
    found, left_out = ledger.judge(NOW, errors, p99)
    assert len(found) + left_out == 1
    assert not ledger.due(NOW)
    return found[0].outcome if found else None


@pytest.mark.parametrize("lead", [11, 30])
def test_a_breach_in_ten_to_thirty_minutes_came(lead: int) -> None:
    breach = slice(70 + lead, 77 + lead)
    assert judged(70, breach=breach) is Outcome.TRUE_POSITIVE
    assert judged(70, breach=breach, warned=False) is Outcome.FALSE_NEGATIVE


def test_no_breach_or_one_that_comes_later_did_not_come() -> None:
    assert judged(70) is Outcome.FALSE_POSITIVE
    assert judged(70, warned=False) is Outcome.TRUE_NEGATIVE
    assert judged(70, breach=slice(101, 110)) is Outcome.FALSE_POSITIVE


@pytest.mark.parametrize("start", [40, 66, 70, 75, 80])
def test_close_to_a_breach_or_in_it_nothing_is_counted(start: int) -> None:
    assert judged(70, breach=slice(start, start + 6 if start != 40 else 72)) is None


def test_nobody_who_called_and_nobody_who_remembers_is_not_counted() -> None:
    assert judged(70, gone=slice(71, 100)) is None
    assert judged(70, gone=slice(71, 80)) is Outcome.FALSE_POSITIVE
    assert judged(20) is None


def test_nothing_is_judged_before_its_time() -> None:
    ledger = Ledger("order", MINUTE)
    assert not ledger.due(NOW)
    ledger.add(Promise(NOW, 0.7, warned=True))
    assert not ledger.due(NOW + (SETTLED - 1) * MINUTE)
    assert ledger.due(NOW + SETTLED * MINUTE)
