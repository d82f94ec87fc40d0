"""Has the world moved away from the training data, and do the probabilities still hold what they say?"""

import math
from collections import deque
from collections.abc import Iterable, Mapping

import numpy as np

from ml.artefact import Drift
from ml.features.prometheus import Matrix
from ml.features.windows import FEATURES
from ml.predictor.adwin import Adwin
from ml.predictor.ledger import Verdict

_ROWS = 3 * 24 * 60
"""A day of minutes of three services."""

_FEWEST_ROWS = 300
"""With fewer, chance alone moves ten bins apart."""

_SMALLEST_SHARE = 1e-3

_BLOCK = 20
"""Minutes: neighbours are judged by the same breach, means of so many hardly."""

_JUDGED = 2000
_BINS = 10


class FeatureDrift:
    """The population stability index of each feature, over the last rows of all services.

    Below 0.1 a feature is as it was in training, above 0.25 it is another world (the usual reading of it).
    """

    def __init__(self, trained: Mapping[str, Drift]) -> None:
        self._trained = {name: spread for name, spread in trained.items() if name in FEATURES}
        self._places = [FEATURES.index(name) for name in self._trained]
        self._rows: deque[Matrix] = deque(maxlen=_ROWS)

    def observe(self, row: Matrix) -> None:
        """Take the features of one prediction."""
        self._rows.append(row[self._places].astype(np.float32))

    def indices(self) -> dict[str, float]:
        """By feature; nothing before there are enough rows."""
        if len(self._rows) < _FEWEST_ROWS:
            return {}
        table = np.stack(list(self._rows)).astype(np.float64)
        columns = zip(self._trained.items(), table.T, strict=True)
        return {name: stability(spread, column) for (name, spread), column in columns}


def stability(trained: Drift, column: Matrix) -> float:
    """The population stability index of a column against training; what is missing is a bin of its own."""
    known = column[~np.isnan(column)]
    counts = np.bincount(np.searchsorted(trained.edges, known, side="right"), minlength=len(trained.edges) + 1)
    now = np.append(counts, len(column) - len(known)) / len(column)
    then = np.append(np.array(trained.shares) * (1 - trained.missing), trained.missing)
    now, then = np.maximum(now, _SMALLEST_SHARE), np.maximum(then, _SMALLEST_SHARE)
    return float(((now - then) * np.log(now / then)).sum())


class CalibrationDrift:
    """How far the probabilities are from what came, and whether that has changed."""

    def __init__(self) -> None:
        self._judged: deque[tuple[float, bool]] = deque(maxlen=_JUDGED)
        self._adwin = Adwin()
        self._blocks: dict[str, list[float]] = {}

    def judge(self, verdicts: Iterable[Verdict]) -> bool:
        """Take what became of predictions. Returns whether the mean error has changed (ADWIN over blocks' means)."""
        changed = False
        for verdict in verdicts:
            self._judged.append((verdict.probability, verdict.came))
            block = self._blocks.setdefault(verdict.service, [])
            block.append(float(verdict.came) - verdict.probability)
            if len(block) == _BLOCK:
                changed |= self._adwin.update(min(1.0, max(0.0, (sum(block) / _BLOCK + 1) / 2)))
                block.clear()
        return changed

    def error(self) -> float | None:
        """The expected calibration error in ten bins over the last judged minutes; None before there are a hundred."""
        if len(self._judged) < 100:
            return None
        probability, came = (np.array(each, dtype=np.float64) for each in zip(*self._judged, strict=True))
        bins = np.minimum((probability * _BINS).astype(int), _BINS - 1)
        apart = np.abs(np.bincount(bins, came - probability, _BINS))
        return math.fsum(apart.tolist()) / len(probability)
