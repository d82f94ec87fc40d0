"""Extremely randomised trees with Platt's calibration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from ml.calibration import Platt, logit
from ml.datasets.recording import Series
from ml.datasets.rows import Rows, rows
from ml.features.prometheus import Matrix
from ml.features.windows import HISTORY, features

FOLDS = 4
TREES = 100


@dataclass(frozen=True, slots=True)
class Model:
    """Trees and their calibration."""

    trees: Pipeline
    platt: Platt

    def probability(self, table: Matrix) -> Matrix:
        """The calibrated probability of a breach in 10 to 30 minutes, for each row of features."""
        return self.platt.apply(_raw(self.trees, table))


def train(listed: Sequence[Series], *, seed: int = 7) -> tuple[Model, list[Matrix]]:
    """Fit on the series, and say what the model would have said of them, had it not seen them.

    The trees learn from the minutes right before a breach, too, which are in no set that judges: there the signs are
    clearest. They are fitted FOLDS times without one block of runs. What those say of that block is what the
    calibration is fitted to, on the rows that judge, and, calibrated, what is returned for each series: a probability
    a minute, NaN without a full history.

    Raises ValueError: the series hold no breach, or nothing else.
    """
    learned, table = rows(listed, lead=0), rows(listed)
    if not 0 < table.base_rate < 1:
        raise ValueError("the training series need minutes before a breach, and others")
    fold = folds(listed)
    raw = [np.full(len(series), np.nan) for series in listed]
    for number in range(FOLDS):
        rest = fold[learned.series] != number
        if not learned.positive[rest].any():
            continue
        trees = _fit(learned, rest, seed)
        for place in np.flatnonzero(fold == number).tolist():
            raw[place] = _each_minute(listed[place], partial(_raw, trees))
    held_out = np.concatenate([raw[place][table.minute[table.series == place]] for place in range(len(listed))])
    known = ~np.isnan(held_out)
    line = LogisticRegression(C=1e6).fit(logit(held_out[known])[:, None], table.positive[known])
    platt = Platt(float(line.coef_[0, 0]), float(line.intercept_[0]))
    model = Model(_fit(learned, np.ones(len(learned), dtype=bool), seed), platt)
    return model, [platt.apply(each) for each in raw]


def every_minute(model: Model, series: Series) -> Matrix:
    """The probability at each minute of a series; NaN for those without a full history."""
    return _each_minute(series, model.probability)


def folds(listed: Sequence[Series]) -> npt.NDArray[np.intp]:
    """For each series the block of time that it is in: whole runs, in the order in which they began."""
    runs = sorted({series.run: series.began for series in listed}.items(), key=lambda item: (item[1], item[0]))
    place = {run: number * FOLDS // len(runs) for number, (run, _) in enumerate(runs)}
    return np.array([place[series.run] for series in listed], dtype=np.intp)


def _raw(trees: Pipeline, table: Matrix) -> Matrix:
    found: Matrix = trees.predict_proba(table.astype(np.float32))[:, 1]
    return found


def _each_minute(series: Series, of: Callable[[Matrix], Matrix]) -> Matrix:
    found = np.full(len(series), np.nan)
    if len(series) >= HISTORY:
        found[HISTORY - 1 :] = of(features(series.signals))
    return found


def _fit(table: Rows, chosen: npt.NDArray[np.bool_], seed: int) -> Pipeline:
    # a gap is a value of its own, below most; a cut between the two can be drawn like any other
    gaps = SimpleImputer(strategy="constant", fill_value=-1.0, keep_empty_features=True)
    trees = ExtraTreesClassifier(
        n_estimators=TREES, min_samples_leaf=20, max_features=0.1, random_state=seed, n_jobs=-1
    )
    return make_pipeline(gaps, trees).fit(table.features[chosen].astype(np.float32), table.positive[chosen])
