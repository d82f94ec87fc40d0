"""What is to be predicted: an SLO breach that *starts* ten to thirty minutes from now.

A breach is what the callers of a service saw, measured at the mesh: no input of the model defines it. Minutes inside a
breach, closer to one than the lead, or soon after one are in no set: "it fails now, so it will fail in ten minutes" is
no prediction.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Booleans = npt.NDArray[np.bool_]
Matrix = npt.NDArray[np.float64]

LEAD, HORIZON = 10, 30
"""Minutes: a breach counts that starts in (t + LEAD, t + HORIZON]."""

COOL_OFF = 15
"""Minutes after a breach in which the windows still hold mostly the breach."""


@dataclass(frozen=True, slots=True)
class Objective:
    """Where a service breaches its promise: share of errors, seconds at the 99th percentile; for how many minutes.

    `lasts` is longer than the five minutes over which both are measured: one slow order among few makes no breach.
    `heals` minutes without a breach end it: shorter pauses belong to the same one.
    """

    error_ratio: float = 0.05
    p99_seconds: float = 1.0
    lasts: int = 6
    heals: int = 5


@dataclass(frozen=True, slots=True)
class Breach:
    """From minute `start` to minute `end`, which is the first one after it."""

    start: int
    end: int


def breaches(error_ratio: Matrix, p99_seconds: Matrix, objective: Objective) -> list[Breach]:
    """Every breach in order. Inputs: one value a minute, NaN where nobody called; a gap neither starts nor ends one."""
    bad = np.where(np.isnan(error_ratio), False, error_ratio > objective.error_ratio)
    bad |= np.where(np.isnan(p99_seconds), False, p99_seconds > objective.p99_seconds)
    unknown = np.isnan(error_ratio) & np.isnan(p99_seconds)
    found: list[Breach] = []
    start: int | None = None
    last_bad, count, healthy = 0, 0, 0
    for minute in range(len(bad)):
        if bad[minute]:
            if start is None:
                start, count = minute, 0
            count, last_bad, healthy = count + 1, minute, 0
        elif start is not None and not unknown[minute]:
            healthy += 1
            if healthy >= objective.heals:
                if count >= objective.lasts:
                    found.append(Breach(start, last_bad + 1))
                start, healthy = None, 0
    if start is not None and count >= objective.lasts:
        found.append(Breach(start, last_bad + 1))
    return found


def labels(minutes: int, found: list[Breach], *, lead: int = LEAD, horizon: int = HORIZON) -> tuple[Booleans, Booleans]:
    """What each minute of one unbroken recording is labelled, and whether it is used at all.

    A minute whose next `horizon` minutes are not all recorded is used only if a breach is seen to start in time.
    """
    positive = np.zeros(minutes, dtype=bool)
    used = np.ones(minutes, dtype=bool)
    used[max(0, minutes - horizon) :] = False
    for breach in found:
        positive[max(0, breach.start - horizon) : max(0, breach.start - lead)] = True
        used[max(0, breach.start - horizon) : breach.start] = True
    for breach in found:
        used[max(0, breach.start - lead) : breach.end + COOL_OFF] = False
    return positive & used, used
