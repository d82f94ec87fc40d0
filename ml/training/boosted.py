"""Gradient-boosted trees with Platt's calibration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from ml.calibration import Platt, logit
from ml.datasets.recording import Series
from ml.datasets.rows import Rows, rows
from ml.features.prometheus import Matrix
from ml.features.windows import HISTORY, features

FOLDS = 4


@dataclass(frozen=True, slots=True)
class Model:
    """Trees and their calibration."""

    trees: HistGradientBoostingClassifier
    platt: Platt

    def probability(self, table: Matrix) -> Matrix:
        """The calibrated probability of a breach in 10 to 30 minutes, for each row of features."""
        return self.platt.apply(_raw(self.trees, table))


def train(listed: Sequence[Series], *, seed: int = 7) -> tuple[Model, list[Matrix]]:
    """Fit on the series, and say what the model would have said of them, had it not seen them.

    Trees are fitted FOLDS times without one block of runs. What those say of that block is what the calibration is
    fitted to, and, calibrated, what is returned for each series: a probability a minute, NaN without a full history.

    Raises ValueError: the series hold no breach, or nothing else.
    """
    table = rows(listed)
    if not 0 < table.base_rate < 1:
        raise ValueError("the training series need minutes before a breach, and others")
    fold = folds(listed)
    raw = [np.full(len(series), np.nan) for series in listed]
    for number in range(FOLDS):
        rest = fold[table.series] != number
        if not table.positive[rest].any():
            continue
        trees = _fit(table, rest, seed)
        for place in np.flatnonzero(fold == number):
            raw[place] = _each_minute(listed[place], partial(_raw, trees))
    held_out = np.concatenate([raw[place][table.minute[table.series == place]] for place in range(len(listed))])
    known = ~np.isnan(held_out)
    line = LogisticRegression(C=1e6).fit(logit(held_out[known])[:, None], table.positive[known])
    platt = Platt(float(line.coef_[0, 0]), float(line.intercept_[0]))
    model = Model(_fit(table, np.ones(len(table), dtype=bool), seed), platt)
    return model, [platt.apply(each) for each in raw]


def every_minute(model: Model, series: Series) -> Matrix:
    """The probability at each minute of a series; NaN for those without a full history."""
    return _each_minute(series, model.probability)


def folds(listed: Sequence[Series]) -> npt.NDArray[np.intp]:
    """For each series the block of time that it is in: whole runs, in the order in which they began."""
    runs = sorted({series.run: series.began for series in listed}.items(), key=lambda item: (item[1], item[0]))
    place = {run: number * FOLDS // len(runs) for number, (run, _) in enumerate(runs)}
    return np.array([place[series.run] for series in listed], dtype=np.intp)


def _raw(trees: HistGradientBoostingClassifier, table: Matrix) -> Matrix:
    found: Matrix = trees.predict_proba(table.astype(np.float32))[:, 1]
    return found


def _each_minute(series: Series, of: Callable[[Matrix], Matrix]) -> Matrix:
    found = np.full(len(series), np.nan)
    if len(series) >= HISTORY:
        found[HISTORY - 1 :] = of(features(series.signals))
    return found


def _fit(table: Rows, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]], seed: int) -> HistGradientBoostingClassifier:
    trees = HistGradientBoostingClassifier(
        learning_rate=0.06,
        max_iter=120,
        max_leaf_nodes=6,
        min_samples_leaf=60,
        l2_regularization=5.0,
        max_features=0.2,
        random_state=seed,
        early_stopping=False,
    )
    return trees.fit(learnable(table.features[chosen]), table.positive[chosen])


def learnable(table: Matrix) -> npt.NDArray[np.float32]:
    """Features as the trees take them to learn from: scikit-learn 1.9 fails on a column that is never known.

    Such a column becomes a constant, which no tree can split on: it stands for nothing, as before.
    """
    never = np.isnan(table).all(axis=0)
    return np.where(never, 0.0, table).astype(np.float32)
