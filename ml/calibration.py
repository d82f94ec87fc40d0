"""From what the trees say to a probability that holds what it says: Platt's scaling."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

_SMALLEST = 1e-6


@dataclass(frozen=True, slots=True)
class Platt:
    """`p = 1 / (1 + exp(-(slope * logit + intercept)))`."""

    slope: float
    intercept: float

    def log_odds(self, raw: Matrix) -> Matrix:
        """Raw probabilities of the trees as calibrated log-odds."""
        return np.asarray(self.slope * logit(raw) + self.intercept)

    def apply(self, raw: Matrix) -> Matrix:
        """Raw probabilities of the trees, calibrated."""
        return np.asarray(1.0 / (1.0 + np.exp(-self.log_odds(raw))))


def logit(raw: Matrix) -> Matrix:
    """Log-odds, bounded where a probability is 0 or 1."""
    bounded = np.clip(raw, _SMALLEST, 1 - _SMALLEST)
    return np.asarray(np.log(bounded / (1 - bounded)))
