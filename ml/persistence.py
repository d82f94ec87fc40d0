"""When a row of probabilities is a warning: not at one minute over the threshold, and not until one minute under it."""

import math
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Persistence:
    """A warning begins when `k` of the last `n` minutes are over the threshold, and ends when all are under half."""

    k: int = 4
    n: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.n:
            raise ValueError(f"k of n needs 1 <= k <= n, not {self.k} of {self.n}")


USUAL = Persistence()


class Warner:
    """Says minute by minute whether a warning is in force. The evaluation and the sidecar use the same one."""

    def __init__(self, threshold: float, persistence: Persistence) -> None:
        self._threshold, self._persistence = threshold, persistence
        self._over: deque[bool] = deque(maxlen=persistence.n)
        self._calm: deque[bool] = deque(maxlen=persistence.n)
        self.active = False

    def step(self, probability: float) -> bool:
        """Take the next minute's probability. NaN (unknown) is never over a threshold, and ends no warning by itself.

        Returns whether a warning is in force now.
        """
        known = not math.isnan(probability)
        self._over.append(known and probability >= self._threshold)
        self._calm.append(known and probability < self._threshold / 2)
        if not self.active:
            self.active = sum(self._over) >= self._persistence.k
        elif all(self._calm):
            self.active = False
        return self.active
