"""A challenger takes the champion's place only when it is better beyond doubt, and every decision is kept."""

import json
from pathlib import Path

import numpy as np

from ml.evaluation.scores import Estimate
from ml.training.challenge import LEAST_BREACHES, Decision, compare, verdict, write_down

RANDOM = np.random.default_rng(3)
POSITIVE = RANDOM.random(4000) < 0.15
RUNS = [np.arange(first, first + 200) for first in range(0, 4000, 200)]
BETTER = Estimate(0.2, 0.1, 0.3)
LOWER = Estimate(-0.02, -0.03, -0.01)


def guesses(signal: float) -> np.ndarray:
    """Probabilities that know so much of what is to come."""
    odds = -1.7 + signal * (POSITIVE - 0.15) + RANDOM.normal(0, 1, len(POSITIVE))
    return 1 / (1 + np.exp(-odds))


def test_a_model_that_knows_more_is_better_beyond_doubt() -> None:
    by_area, by_brier = compare(POSITIVE, guesses(1.0), guesses(3.0), RUNS)
    assert by_area.low > 0
    assert by_brier.high < 0
    assert verdict(LEAST_BREACHES, by_area, by_brier)[0]


def test_a_model_that_knows_as_much_stays_the_challenger() -> None:
    promoted, why = verdict(100, *compare(POSITIVE, guesses(2.0), guesses(2.0), RUNS))
    assert not promoted
    assert "not better beyond doubt" in why


def test_the_champion_never_loses_its_place_to_a_worse_one() -> None:
    assert not verdict(100, *compare(POSITIVE, guesses(3.0), guesses(1.0), RUNS))[0]


def test_with_few_breaches_nobody_can_tell() -> None:
    promoted, why = verdict(LEAST_BREACHES - 1, BETTER, LOWER)
    assert not promoted
    assert f"{LEAST_BREACHES} are needed" in why


def test_better_ranks_with_worse_probabilities_are_not_enough() -> None:
    promoted, why = verdict(100, BETTER, Estimate(0.01, -0.01, 0.02))
    assert not promoted
    assert "Brier" in why


def test_every_decision_is_a_line_that_says_what_it_was_made_of(tmp_path: Path) -> None:
    path = tmp_path / "new" / "decisions.jsonl"
    for promoted in (False, True):
        write_down(
            Decision("2026-01-01T00:00:00+00:00", "a" * 64, promoted, "why", 900, 12, ("run-1",), BETTER, LOWER), path
        )
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["promoted"] for line in lines] == [False, True]
    assert lines[0]["pr_auc"] == {"value": 0.2, "low": 0.1, "high": 0.3}
    assert lines[0]["judged_on"] == ["run-1"]
