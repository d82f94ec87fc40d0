"""The slope of a noisy series that may jump: Theil and Sen's median of slopes, with its confidence interval.

A restarted process begins at another level, and that jump is no growth. So only points of one life are compared, and
the lives are pooled: the seasonal Kendall slope of Hirsch, Slack and Smith (Water Resources Research 18, 1982), with
lives for seasons. The interval is Sen's (JASA 63, 1968), from the variance of Kendall's S.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

FEWEST = 8
"""Points of a life below which it tells nothing."""

Life = Sequence[tuple[float, float]]
"""(moment, value) of one process from its start to its end; seconds, and whatever is measured."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth a second, and the interval in which it lies with the confidence that was asked for."""

    median: float
    low: float
    high: float
    points: int


def slope(lives: Sequence[Life], confidence: float = 0.95) -> Slope | None:
    """The common slope of all lives; None when none of them is long enough.

    Points need not be evenly spaced. Half of them may be wild (29 % to be exact) without moving the median far.
    """
    told = [life for life in lives if len(life) >= FEWEST]
    if not told:
        return None
    slopes = np.sort(np.concatenate([_pairs(life) for life in told]))
    variance = sum(n * (n - 1) * (2 * n + 5) / 18 for n in map(len, told))
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(variance)
    count = len(slopes)
    lowest = max(0, round((count - reach) / 2) - 1)
    highest = min(count - 1, round((count + reach) / 2))
    return Slope(float(np.median(slopes)), float(slopes[lowest]), float(slopes[highest]), sum(map(len, told)))


def _pairs(life: Life) -> np.ndarray:
    at, value = np.asarray(life, dtype=float).T
    first, second = np.triu_indices(len(at), k=1)
    apart = at[second] - at[first]
    return (value[second] - value[first])[apart > 0] / apart[apart > 0]
