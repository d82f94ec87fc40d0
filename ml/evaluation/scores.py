"""Figures of a probability: precision and recall, Brier skill, calibration, each with an interval from whole blocks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

from ml.features.prometheus import Matrix

Booleans = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and the 95 % interval around it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def pr_auc(positive: Booleans, score: Matrix) -> float:
    """Average precision; a score that is NaN is the lowest of all. NaN when nothing is positive."""
    if not positive.any():
        return float("nan")
    known = ~np.isnan(score)
    lowest = score[known].min() - 1 if known.any() else 0.0
    return float(average_precision_score(positive, np.where(known, score, lowest)))


def brier_skill(positive: Booleans, probability: Matrix) -> float:
    """1 is perfect, 0 no better than always saying the base rate of these very rows, less is worse."""
    rate = positive.mean()
    reference = float(np.mean((positive - rate) ** 2))
    return 1 - float(np.mean((positive - probability) ** 2)) / reference if reference else float("nan")


def calibration_error(positive: Booleans, probability: Matrix, bins: int = 10) -> float:
    """Expected calibration error: |said - happened| in bins of equal width, weighted by what is in them."""
    bin_of = np.clip((probability * bins).astype(int), 0, bins - 1)
    total = 0.0
    for number in range(bins):
        inside = bin_of == number
        if inside.any():
            total += inside.mean() * abs(float(probability[inside].mean()) - float(positive[inside].mean()))
    return total


def reliability(positive: Booleans, probability: Matrix, bins: int = 10) -> list[tuple[float, float, int]]:
    """For each bin that holds something: what was said on average, how often it happened, how many rows."""
    bin_of = np.clip((probability * bins).astype(int), 0, bins - 1)
    return [
        (float(probability[inside].mean()), float(positive[inside].mean()), int(inside.sum()))
        for number in range(bins)
        if (inside := bin_of == number).any()
    ]


def interval(
    figure: Callable[[Indices], float], blocks: Sequence[Indices], *, rounds: int = 400, seed: int = 1
) -> Estimate:
    """A figure of all rows, and its interval when whole blocks (one run each) are drawn again with replacement.

    Rows of one run resemble each other: drawing single rows would make the interval far too narrow.
    """
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(rounds):
        chosen = np.concatenate([blocks[index] for index in random.integers(0, len(blocks), len(blocks))])
        value = figure(chosen)
        if np.isfinite(value):
            drawn.append(value)
    low, high = np.percentile(drawn, [2.5, 97.5]) if drawn else (np.nan, np.nan)
    return Estimate(figure(np.concatenate(list(blocks))), float(low), float(high))
