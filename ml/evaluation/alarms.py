"""From probabilities to alarms, and from alarms to what an operator asks: caught, how early, how often in vain."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ml.datasets.recording import Series
from ml.features.prometheus import Matrix
from ml.labels import HORIZON
from ml.persistence import USUAL, Persistence, Warner

DAY_MINUTES = 1440


@dataclass(frozen=True, slots=True)
class Alarm:
    """Active from minute `start` to minute `end`, which is the first one after it."""

    start: int
    end: int


def alarms(probability: Matrix, threshold: float, persistence: Persistence = USUAL) -> list[Alarm]:
    """Alarms of one series. NaN (unknown) is never over a threshold, and does not end an alarm by itself."""
    found: list[Alarm] = []
    warner = Warner(threshold, persistence)
    start: int | None = None
    for minute, each in enumerate(probability.tolist()):
        active = warner.step(each)
        if active and start is None:
            start = minute
        elif start is not None and not active:
            found.append(Alarm(start, minute))
            start = None
    if start is not None:
        found.append(Alarm(start, len(probability)))
    return found


@dataclass(slots=True)
class Tally:
    """Breaches caught and missed, with the lead of each that was caught; alarms in vain; minutes watched."""

    leads: list[float] = field(default_factory=list)
    missed: int = 0
    in_vain: int = 0
    minutes: int = 0

    @property
    def events(self) -> int:
        """Breaches."""
        return len(self.leads) + self.missed

    @property
    def recall(self) -> float:
        """The share of breaches that was warned of; NaN without any."""
        return len(self.leads) / self.events if self.events else float("nan")

    @property
    def median_lead(self) -> float:
        """Minutes from the alarm to the breach; NaN when none was caught."""
        return float(np.median(self.leads)) if self.leads else float("nan")

    @property
    def in_vain_per_day(self) -> float:
        """Alarms without a breach, for each service and day."""
        return self.in_vain / (self.minutes / DAY_MINUTES) if self.minutes else float("nan")


def judge(
    series: Sequence[Series],
    probabilities: Sequence[Matrix],
    threshold: float,
    persistence: Persistence = USUAL,
) -> dict[str, Tally]:
    """What the alarms were worth: `all`, and by how the fault comes (`gradual`, ...) and its kind (`memory-leak`, ...).

    A breach is caught if an alarm is active in the 30 minutes before it; the lead counts from the alarm's start. An
    alarm is in vain if no breach starts while it lasts or within 30 minutes of it. One that begins inside a breach is
    neither. Minutes and alarms in vain are counted under `all` only.
    """
    tallies: dict[str, Tally] = {"all": Tally()}
    for each, probability in zip(series, probabilities, strict=True):
        raised = _raised(each, probability, threshold, persistence)
        tallies["all"].minutes += int(_watched(each).sum())
        for breach, (kind, onset) in zip(each.breaches, each.kinds, strict=True):
            before = [alarm for alarm in raised if alarm.start < breach.start and alarm.end > breach.start - HORIZON]
            for name in ("all", onset, kind):
                tally = tallies.setdefault(name, Tally())
                if before:
                    tally.leads.append(float(breach.start - min(alarm.start for alarm in before)))
                else:
                    tally.missed += 1
        starts = [breach.start for breach in each.breaches]
        tallies["all"].in_vain += sum(
            not any(alarm.start < start <= alarm.end + HORIZON for start in starts) for alarm in raised
        )
    return tallies


def threshold_for(
    series: Sequence[Series],
    probabilities: Sequence[Matrix],
    budget_per_day: float,
    persistence: Persistence = USUAL,
) -> float:
    """The lowest threshold that keeps alarms in vain within the budget on these series; above 1 when none does."""
    for threshold in np.round(np.arange(0.02, 0.991, 0.01), 2):
        if judge(series, probabilities, float(threshold), persistence)["all"].in_vain_per_day <= budget_per_day:
            return float(threshold)
    return 1.01


def _raised(series: Series, probability: Matrix, threshold: float, persistence: Persistence) -> list[Alarm]:
    """Alarms outside the breaches: one that was right ends where its breach begins."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], _watched(series), [False]]).astype(int)))
    found: list[Alarm] = []
    for first, last in edges.reshape(-1, 2).tolist():
        part = alarms(probability[first:last], threshold, persistence)
        found += [Alarm(alarm.start + first, alarm.end + first) for alarm in part]
    return found


def _watched(series: Series) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    watched = np.ones(len(series), dtype=bool)
    for breach in series.breaches:
        watched[breach.start : breach.end + 5] = False
    return watched
