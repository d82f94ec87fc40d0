"""ADWIN: a window over a stream that drops its old part when the mean has changed.

A. Bifet, R. Gavaldà: Learning from Time-Changing Data with Adaptive Windowing, SIAM International Conference on Data
Mining, 2007: the version with exponential buckets, which keeps O(log n) numbers.
"""

import math
from collections import deque
from dataclasses import dataclass

_PER_ROW = 5
"""Buckets of one size before the two oldest become one of the next."""

_FEWEST = 5
"""Values that either part of the window must have."""


@dataclass(frozen=True, slots=True)
class _Bucket:
    """`count` values: their mean, and the sum of their squared distances from it."""

    count: int
    mean: float
    squares: float

    def __add__(self, other: "_Bucket") -> "_Bucket":
        count = self.count + other.count
        apart = other.mean - self.mean
        return _Bucket(
            count,
            self.mean + apart * other.count / count,
            self.squares + other.squares + apart * apart * self.count * other.count / count,
        )

    def without(self, part: "_Bucket") -> "_Bucket":
        """What is left when a part of it goes."""
        count = self.count - part.count
        mean = (self.mean * self.count - part.mean * part.count) / count
        apart = part.mean - mean
        squares = self.squares - part.squares - apart * apart * count * part.count / self.count
        return _Bucket(count, mean, max(0.0, squares))


class Adwin:
    """Takes values from 0 to 1 and says when their mean has changed.

    confidence: how likely at most a change is seen where there is none (for values that do not depend on each other)
    """

    def __init__(self, confidence: float = 0.002) -> None:
        if not 0 < confidence < 1:
            raise ValueError("the confidence lies between 0 and 1")
        self._confidence = confidence
        self._rows: list[deque[_Bucket]] = []  # row i: buckets of 2**i values, the oldest first
        self._whole: _Bucket | None = None

    @property
    def count(self) -> int:
        """Values in the window."""
        return self._whole.count if self._whole else 0

    @property
    def mean(self) -> float:
        """Their mean; NaN when there are none."""
        return self._whole.mean if self._whole else math.nan

    def update(self, value: float) -> bool:
        """Take a value. Returns whether the mean has changed, and the old part of the window is gone."""
        if not 0 <= value <= 1:
            raise ValueError(f"{value} is not between 0 and 1")
        bucket = _Bucket(1, value, 0.0)
        self._whole = self._whole + bucket if self._whole else bucket
        self._insert(bucket)
        changed = False
        while self._cut():
            changed = True
        return changed

    def _insert(self, bucket: _Bucket) -> None:
        row = 0
        while True:
            if row == len(self._rows):
                self._rows.append(deque())
            self._rows[row].append(bucket)
            if len(self._rows[row]) <= _PER_ROW:
                return
            bucket = self._rows[row].popleft() + self._rows[row].popleft()
            row += 1

    def _cut(self) -> bool:
        """Drop the oldest bucket if anywhere the older part differs from the newer; whether it did."""
        whole = self._whole
        if whole is None or whole.count < 2 * _FEWEST:
            return False
        older: _Bucket | None = None
        for bucket in (bucket for row in reversed(self._rows) for bucket in row):
            older = older + bucket if older else bucket
            newer_count = whole.count - older.count
            if newer_count < _FEWEST:
                return False
            newer_mean = (whole.mean * whole.count - older.mean * older.count) / newer_count
            if older.count >= _FEWEST and abs(older.mean - newer_mean) >= self._bound(whole, older.count):
                self._whole = whole.without(self._rows[-1].popleft())
                while self._rows and not self._rows[-1]:
                    self._rows.pop()
                return True
        return False

    def _bound(self, whole: _Bucket, older: int) -> float:
        """How far two means may lie apart by chance (the paper's epsilon for large windows)."""
        harmonic = 1 / (1 / older + 1 / (whole.count - older))
        tail = math.log(2 * math.log(whole.count) / self._confidence)
        variance = whole.squares / whole.count
        return math.sqrt(2 / harmonic * variance * tail) + 2 / (3 * harmonic) * tail
