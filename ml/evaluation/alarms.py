"""From probabilities to alarms, and from alarms to what an operator asks: caught, how early, how often in vain."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ml.datasets.recording import Series
from ml.features.prometheus import Matrix
from ml.labels import HORIZON
from ml.persistence import USUAL, Persistence

DAY_MINUTES = 1440

_NEVER = 1.0
_LEVELS = 100


@dataclass(frozen=True, slots=True)
class Alarm:
    """Active from minute `start` to minute `end`, which is the first one after it."""

    start: int
    end: int


def alarms(probability: Matrix, threshold: float, persistence: Persistence = USUAL) -> list[Alarm]:
    """Alarms of one series, as `Warner` raises them. NaN is never over a threshold, and ends no alarm by itself.

    All minutes at once: to choose a level, every series is gone through hundreds of times.
    """
    over, calm = probability >= threshold, probability < threshold / 2
    begins = np.flatnonzero(_of_the_last(persistence.n, over) >= persistence.k)
    ends = np.flatnonzero(_of_the_last(persistence.n, calm) == persistence.n)
    found: list[Alarm] = []
    minute = 0
    while (place := int(np.searchsorted(begins, minute))) < len(begins):
        start = int(begins[place])
        after = int(np.searchsorted(ends, start))
        end = int(ends[after]) if after < len(ends) else len(probability)
        found.append(Alarm(start, end))
        minute = end
    return found


def _of_the_last(n: int, true: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """For each minute, of how many of the last n it is true."""
    count = np.cumsum(true, dtype=np.int64)
    count[n:] -= count[:-n].copy()
    return count


@dataclass(slots=True)
class Tally:
    """Breaches caught and missed, with the lead of each that was caught; alarms in vain; minutes, and those alarmed."""

    leads: list[float] = field(default_factory=list)
    missed: int = 0
    in_vain: int = 0
    minutes: int = 0
    alarmed: int = 0

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

    @property
    def share_alarmed(self) -> float:
        """The share of the minutes outside breaches in which an alarm was active."""
        return self.alarmed / self.minutes if self.minutes else float("nan")

    def add(self, other: "Tally") -> None:
        """Count what the other has counted, too."""
        self.leads += other.leads
        self.missed += other.missed
        self.in_vain += other.in_vain
        self.minutes += other.minutes
        self.alarmed += other.alarmed


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
        tallies["all"].alarmed += sum(alarm.end - alarm.start for alarm in raised)
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


def together(several: Iterable[Mapping[str, Tally]]) -> dict[str, Tally]:
    """What `judge` found of several, as if of all at once."""
    found: dict[str, Tally] = {"all": Tally()}
    for tallies in several:
        for name, tally in tallies.items():
            found.setdefault(name, Tally()).add(tally)
    return found


def level_for(
    series: Sequence[Series],
    scores: Sequence[Matrix],
    budget_per_day: float,
    persistence: Persistence = USUAL,
) -> float:
    """The level of a score to raise alarms at, so that those in vain keep within the budget on these series.

    From the highest level down, the last one before the budget is exceeded for the first time. Far below there may be
    others: an alarm that never ends is a single one. Above every score when no level keeps to the budget.
    """
    known = np.concatenate(list(scores))
    known = known[~np.isnan(known)]
    if not len(known):
        return _NEVER
    found = float(known.max()) + _NEVER
    for level in np.unique(np.quantile(known, 1 - np.geomspace(1e-4, 0.5, _LEVELS)))[::-1].tolist():
        in_vain = judge(series, scores, level, persistence)["all"].in_vain_per_day
        if level <= 0 or in_vain > budget_per_day:
            break
        found = level
    return found


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
