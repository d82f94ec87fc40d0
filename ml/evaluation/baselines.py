"""What a prediction has to beat: simple rules, and the tutorial's forest. A score a minute each, higher = worse."""

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from ml.datasets.recording import Series
from ml.features.prometheus import Matrix
from ml.features.signals import NAMES
from ml.features.windows import FEATURES, HISTORY, features

TUTORIAL = (
    "cpu", "memory", "latency_p50", "latency_p95", "latency_p99", "error_ratio", "request_rate", "breaker_open", "pool",
)  # fmt: skip
"""The nine metrics of the tutorial's Step 10."""

_TUTORIAL_THRESHOLDS = {
    "error_ratio": 0.05, "latency_p99": 5.0, "cpu": 0.9, "memory": 0.85, "breaker_open": 0.5,
}  # fmt: skip
_TUTORIAL_SHIFT = 10

_PREDICTED = ("memory", "pool", "latency_p99", "error_ratio", "cpu", "loop_lag")


def persistence(series: Series) -> Matrix:
    """It will be as it is: how near the worse of errors and latency has come to its threshold in five minutes."""
    errors = _column(series, "error_ratio") / 0.05
    latency = _column(series, "latency_p99") / 1.0
    return _at_rows(np.fmax(errors, latency))


def thresholds(series: Series) -> Matrix:
    """Alerts as most have them: processor, memory, pool, errors, as shares of the level at which somebody is told."""
    told = {"cpu": 0.8, "memory": 0.85, "pool": 0.9, "error_ratio": 0.01, "latency_p99": 0.8}
    worst = np.full(len(series), np.nan)
    for name, level in told.items():
        worst = np.fmax(worst, _column(series, name) / level)
    return _at_rows(worst)


def predict_linear(series: Series) -> Matrix:
    """Prometheus's `predict_linear` over 15 minutes, half an hour ahead, as a share of the limit of each signal."""
    if len(series) < HISTORY:
        return np.full(len(series), np.nan)
    table = features(series.signals)
    worst = np.full(len(table), np.nan)
    limits = {"memory": 1.0, "pool": 1.0, "latency_p99": 1.0, "error_ratio": 0.05, "cpu": 1.0, "loop_lag": 0.5}
    for name in _PREDICTED:
        level = table[:, FEATURES.index(f"{name}.level")]
        slope = table[:, FEATURES.index(f"{name}.slope_15")]
        worst = np.fmax(worst, (level + 30 * slope) / limits[name])
    return np.concatenate([np.full(HISTORY - 1, np.nan), worst])


class TutorialForest:
    """The tutorial's model, as written: nine raw metrics, its label, its forest.

    Gaps are filled from both sides, which looks ahead; the label is a threshold on the inputs, ten minutes on.
    """

    def __init__(self, seed: int = 42) -> None:
        self._forest = RandomForestClassifier(
            n_estimators=100, max_depth=10, min_samples_split=10, class_weight="balanced", random_state=seed
        )

    def fit(self, inputs: Matrix, label: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> "TutorialForest":
        """Fit on rows of `tutorial_table`."""
        self._forest.fit(inputs, label)
        return self

    def score(self, inputs: Matrix) -> Matrix:
        """The probability that it gives to its label."""
        if list(self._forest.classes_) == [False]:
            return np.zeros(len(inputs))
        found: Matrix = self._forest.predict_proba(inputs)[:, -1]
        return found


def tutorial_table(series: Series) -> tuple[Matrix, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """The tutorial's inputs for every minute, and its label for all but the last ten."""
    columns = {name: _filled(_column(series, name)) for name in TUTORIAL}
    failing = np.zeros(len(series), dtype=bool)
    for name, level in _TUTORIAL_THRESHOLDS.items():
        failing |= columns[name] > level
    label = failing[_TUTORIAL_SHIFT:]
    return np.stack(list(columns.values()), axis=1), label


def _filled(column: Matrix) -> Matrix:
    known = np.flatnonzero(~np.isnan(column))
    if not len(known):
        return np.zeros(len(column))
    return np.interp(np.arange(len(column)), known, column[known])


def _column(series: Series, name: str) -> Matrix:
    found: Matrix = series.signals[:, NAMES.index(name)]
    return found


def _at_rows(column: Matrix) -> Matrix:
    column = column.copy()
    column[: HISTORY - 1] = np.nan
    return column
