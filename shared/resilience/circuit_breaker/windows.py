"""Sliding windows: what the last calls, or the last seconds, were like. Recording is O(1)."""

from collections.abc import Callable

_FAILED = 1
_SLOW = 2


class CountWindow:
    """The outcomes of the last `size` calls."""

    __slots__ = ("_next", "_outcomes", "calls", "failed", "size", "slow", "slow_failed")

    def __init__(self, size: int) -> None:
        self.size = size
        self._outcomes = bytearray(size)
        self._next = 0
        self.calls = 0
        self.failed = 0
        self.slow = 0
        self.slow_failed = 0

    def record(self, failed: bool, slow: bool) -> None:
        """Take one outcome in; the oldest leaves once the window is full."""
        position = self._next
        self._next = position + 1 if position + 1 < self.size else 0
        outcome = (failed and _FAILED) | (slow and _SLOW)
        oldest = self._outcomes[position]
        if self.calls < self.size:
            self.calls += 1
        # Places that were never used hold a plain success, which counts nowhere.
        if oldest != outcome:
            self._count(oldest, -1)
            self._count(outcome, 1)
            self._outcomes[position] = outcome

    def expire(self) -> None:
        """Nothing leaves a count window by itself."""

    def _count(self, outcome: int, change: int) -> None:
        if outcome & _FAILED:
            self.failed += change
        if outcome & _SLOW:
            self.slow += change
        if outcome == _FAILED | _SLOW:
            self.slow_failed += change


class _Bucket:
    """One second."""

    __slots__ = ("calls", "failed", "slow", "slow_failed")

    def __init__(self) -> None:
        self.calls = 0
        self.failed = 0
        self.slow = 0
        self.slow_failed = 0


class TimeWindow:
    """The outcomes of the last `size` seconds, in buckets of one second.

    `calls`, `failed`, `slow` and `slow_failed` are right after `record` or `expire`.
    """

    __slots__ = ("_buckets", "_now", "_second", "calls", "failed", "size", "slow", "slow_failed")

    def __init__(self, size: int, now: Callable[[], float]) -> None:
        self.size = size
        self._now = now
        self._second = int(now())
        self._buckets = [_Bucket() for _ in range(size)]
        self.calls = 0
        self.failed = 0
        self.slow = 0
        self.slow_failed = 0

    def record(self, failed: bool, slow: bool) -> None:
        """Take one outcome in, after the buckets that are too old have left."""
        self.expire()
        bucket = self._buckets[self._second % self.size]
        bucket.calls += 1
        self.calls += 1
        if failed:
            bucket.failed += 1
            self.failed += 1
        if slow:
            bucket.slow += 1
            self.slow += 1
            if failed:
                bucket.slow_failed += 1
                self.slow_failed += 1

    def expire(self) -> None:
        """Let the buckets that are too old leave."""
        second = int(self._now())
        # A clock that went back keeps filling the newest bucket: nothing leaves twice.
        passed = second - self._second
        if passed <= 0:
            return
        for step in range(1, min(passed, self.size) + 1):
            index = (self._second + step) % self.size
            bucket = self._buckets[index]
            if bucket.calls:
                self.calls -= bucket.calls
                self.failed -= bucket.failed
                self.slow -= bucket.slow
                self.slow_failed -= bucket.slow_failed
                self._buckets[index] = _Bucket()
        self._second = second
