"""Reasons in words."""

import numpy as np
import pytest

from ml.features.signals import NAMES
from ml.features.windows import FEATURES, PER_SIGNAL
from ml.predictor.explanation import reasons, sentence
from ml.predictor.scorer import Scored


def of(**known: float) -> np.ndarray:
    return np.array([known.get(name, np.nan) for name in PER_SIGNAL])


@pytest.mark.parametrize(
    ("signal", "features", "words"),
    [
        (
            "memory",
            of(level=0.71, slope_15=0.011, t_15=20, to_limit=26.4),
            "memory 71 % of its limit, +1.1 % a minute, full in 26 minutes",
        ),
        ("memory", of(level=0.71, slope_15=0.011, t_15=1, to_limit=26.4), "memory 71 % of its limit"),
        ("memory", of(level=1.02, slope_15=0.0, t_15=0, to_limit=0), "memory 102 % of its limit, full or beyond"),
        (
            "pool",
            of(level=0.9, slope_15=-0.02, t_15=-9, to_limit=120),
            "connections of the pool 90 % in use, -2 % a minute",
        ),
        (
            "latency_p95",
            of(level=0.25, slope_15=0.05, t_15=8, to_limit=15),
            "latency p95 0.25 s, +0.05 s a minute, at 1 s in 15 minutes",
        ),
        ("queue_age", of(level=340, slope_15=12, t_15=8), "oldest queued message 340 s, +12 s a minute"),
        ("replicas", of(level=2, slope_15=0, t_15=0), "replicas that answer 2"),
        ("retry_ratio", of(), "retries: no numbers"),
    ],
)  # fmt: skip
def test_a_signal_is_told_as_where_it_is_and_where_it_goes(signal: str, features: np.ndarray, words: str) -> None:
    assert sentence(signal, features) == words


def test_every_signal_has_words() -> None:
    for name in NAMES:
        assert sentence(name, of(level=0.5, slope_15=0.01, t_15=5, to_limit=10)).count("0") >= 1


def test_the_strongest_come_first_and_what_weighs_nothing_is_left_out() -> None:
    weights = np.zeros(len(NAMES))
    weights[NAMES.index("pool")], weights[NAMES.index("memory")], weights[NAMES.index("cpu")] = 2.0, 3.0, -4.0
    found = reasons(np.zeros(len(FEATURES)), Scored(0.9, weights))
    assert [reason.signal for reason in found] == ["memory", "pool"]
