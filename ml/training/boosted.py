"""Gradient-boosted trees with Platt's calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

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
        return self.platt.apply(self.trees.predict_proba(table.astype(np.float32))[:, 1])


def train(listed: Sequence[Series], *, seed: int = 7) -> Model:
    """Fit on the series; the calibration on predictions for blocks of time that the trees had not seen.

    Raises ValueError: the series hold no breach, or nothing else.
    """
    table = rows(listed)
    if not 0 < table.base_rate < 1:
        raise ValueError("the training series need minutes before a breach, and others")
    held_out = np.full(len(table), np.nan)
    for fold in _blocks(table, len(listed)):
        rest = ~fold
        if table.positive[rest].any() and fold.any():
            held_out[fold] = _fit(table, rest, seed).predict_proba(table.features[fold].astype(np.float32))[:, 1]
    known = ~np.isnan(held_out)
    platt = LogisticRegression(C=1e6).fit(logit(held_out[known])[:, None], table.positive[known])
    return Model(
        trees=_fit(table, np.ones(len(table), dtype=bool), seed),
        platt=Platt(float(platt.coef_[0, 0]), float(platt.intercept_[0])),
    )


def every_minute(model: Model, series: Series) -> Matrix:
    """The probability at each minute of a series; NaN for those without a full history."""
    found = np.full(len(series), np.nan)
    if len(series) >= HISTORY:
        found[HISTORY - 1 :] = model.probability(features(series.signals))
    return found


def _blocks(table: Rows, count: int) -> list[np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Whole series, in the order of time, in as many blocks as there are folds."""
    block = table.series * FOLDS // max(1, count)
    return [block == fold for fold in range(FOLDS)]


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
