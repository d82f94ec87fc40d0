"""What became of each prediction, when its time is over: by the rule that made the labels of the training."""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ml.features.prometheus import Matrix
from ml.labels import HORIZON, Objective, breaches, labels

SETTLED = HORIZON + Objective().lasts + 1
"""Minutes until it is known whether a breach had started in time, with those it takes to be called one."""

LOOKBACK = 120
"""Minutes of what callers saw, to judge by."""

_TOO_LATE = LOOKBACK - 45
"""Minutes after which it is no longer seen what came before: nothing is said about such a prediction."""

_SHARE_SEEN = 0.5


class Outcome(StrEnum):
    """Warned or not, came or not."""

    TRUE_POSITIVE = "true_positive"
    FALSE_POSITIVE = "false_positive"
    TRUE_NEGATIVE = "true_negative"
    FALSE_NEGATIVE = "false_negative"

    @classmethod
    def of(cls, *, warned: bool, came: bool) -> "Outcome":
        """The one of four."""
        if warned:
            return cls.TRUE_POSITIVE if came else cls.FALSE_POSITIVE
        return cls.FALSE_NEGATIVE if came else cls.TRUE_NEGATIVE


@dataclass(frozen=True, slots=True)
class Promise:
    """A prediction of a minute (seconds since 1970) that waits for its end."""

    at: float
    probability: float
    warned: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one."""

    service: str
    at: float
    probability: float
    came: bool
    outcome: Outcome


class Ledger:
    """The predictions of one service that wait, at most two hours of them."""

    def __init__(self, service: str, minute: float, objective: Objective | None = None) -> None:
        self._service, self._minute, self._objective = service, minute, objective or Objective()
        self._waiting: deque[Promise] = deque(maxlen=LOOKBACK)

    def add(self, promise: Promise) -> None:
        """Write down a prediction of this minute."""
        self._waiting.append(promise)

    def due(self, at: float) -> bool:
        """Whether there is one to be judged."""
        return bool(self._waiting) and at - self._waiting[0].at >= (SETTLED - 0.5) * self._minute

    def judge(self, at: float, error_ratio: Matrix, p99_seconds: Matrix) -> tuple[list[Verdict], int]:
        """Judge what is due by the last `LOOKBACK` minutes of what callers saw, the last of them at `at`.

        Returns the verdicts, and how many were left out: in a breach or too close to one, or nobody called.
        """
        positive, used = labels(LOOKBACK, breaches(error_ratio, p99_seconds, self._objective))
        known = ~(np.isnan(error_ratio) & np.isnan(p99_seconds))
        verdicts: list[Verdict] = []
        left_out = 0
        while self.due(at):
            promise = self._waiting.popleft()
            minute = LOOKBACK - 1 - round((at - promise.at) / self._minute)
            too_late = minute < LOOKBACK - 1 - _TOO_LATE
            if too_late or not used[minute] or known[minute + 1 : minute + 1 + HORIZON].mean() < _SHARE_SEEN:
                left_out += 1
                continue
            came = bool(positive[minute])
            outcome = Outcome.of(warned=promise.warned, came=came)
            verdicts.append(Verdict(self._service, promise.at, promise.probability, came, outcome))
        return verdicts, left_out
