"""From series to rows for a learner, and how they are divided without looking ahead."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ml.datasets.recording import ABRUPT, Series
from ml.features.prometheus import Matrix
from ml.features.windows import HISTORY, features
from ml.labels import HORIZON, LEAD, labels

Booleans = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Rows:
    """Usable minutes of some series: features, labels, the series of each (its place in the list) and its minute."""

    features: Matrix
    positive: Booleans
    series: Indices
    minute: Indices

    def __len__(self) -> int:
        return len(self.positive)

    @property
    def base_rate(self) -> float:
        """The share of positive minutes: what a coin scores."""
        return float(self.positive.mean()) if len(self) else 0.0


def rows(listed: Sequence[Series], *, lead: int = LEAD) -> Rows:
    """Every usable minute of the series. `lead`: minutes before a breach that are left out, as in `labels`."""
    blocks, labelled, owners, minutes = [], [], [], []
    for place, series in enumerate(listed):
        if len(series) < HISTORY:
            continue
        positive, used = labels(len(series), list(series.breaches), lead=lead)
        chosen = np.flatnonzero(used[HISTORY - 1 :])
        blocks.append(features(series.signals)[chosen])
        minute = chosen + HISTORY - 1
        labelled.append(positive[minute])
        owners.append(np.full(len(chosen), place))
        minutes.append(minute)
    if not blocks:
        raise ValueError(f"no series of {HISTORY} minutes or more")
    return Rows(np.concatenate(blocks), np.concatenate(labelled), np.concatenate(owners), np.concatenate(minutes))


@dataclass(frozen=True, slots=True)
class Origin:
    """A moment at which a model is trained anew, on all that is known by then; it is judged on what comes next.

    at:      seconds since 1970: the first minute of `block`
    earlier: every minute that ended an embargo before that moment; a stretch that was under way is cut off there
    block:   the series of the runs that begin then, or later but before the next origin
    """

    at: float
    earlier: list[Series]
    block: list[Series]


def walk_forward(listed: Sequence[Series], share: float, blocks: int, minute_seconds: float) -> list[Origin]:
    """The later `share` of the runs in consecutive blocks, each with everything that went before it.

    Runs stay whole. Those that begin within the embargo of each other were recorded side by side: no block begins
    between them, so there can be fewer blocks than asked for. Origins without anything before them are left out.
    """
    began = sorted({series.run: series.began for series in listed}.items(), key=lambda item: item[1])
    moments = [moment for _, moment in began]
    first = min(len(moments) - 1, int(len(moments) * (1 - share)))
    places = {int(each[0]) for each in np.array_split(np.arange(first, len(moments)), blocks) if len(each)}
    reach = embargo(minute_seconds)
    starts = sorted({_side_by_side(moments, place, reach) for place in places})
    found = []
    for start, end in pairwise([*starts, len(moments)]):
        runs = {run for run, _ in began[start:end]}
        at = moments[start]
        earlier = [_until(series, at - reach, minute_seconds) for series in listed if series.run not in runs]
        earlier = [series for series in earlier if len(series) >= HISTORY]
        if earlier:
            found.append(Origin(at, earlier, [series for series in listed if series.run in runs]))
    return found


def embargo(minute_seconds: float) -> float:
    """Seconds between what a model learned from and what judges it: a label's reach and a window's are no overlap."""
    return (HORIZON + HISTORY) * minute_seconds


def _side_by_side(moments: Sequence[float], place: int, reach: float) -> int:
    while place > 0 and moments[place] - moments[place - 1] < reach:
        place -= 1
    return place


def _until(series: Series, moment: float, minute_seconds: float) -> Series:
    """The minutes of a series that were over by a moment."""
    minutes = int(np.floor((moment - series.began) / minute_seconds))
    return series if minutes >= len(series) else series.first(max(0, minutes))


def abrupt_only(listed: Sequence[Series], table: Rows) -> Booleans:
    """Which rows are positive for an abrupt fault's breach, and for no other."""
    found = np.zeros(len(table), dtype=bool)
    for place, series in enumerate(listed):
        ahead = {True: np.zeros(len(series), dtype=bool), False: np.zeros(len(series), dtype=bool)}
        for breach, (_, onset) in zip(series.breaches, series.kinds, strict=True):
            ahead[onset == ABRUPT][max(0, breach.start - HORIZON) : max(0, breach.start - LEAD)] = True
        own = table.series == place
        found[own] = (ahead[True] & ~ahead[False])[table.minute[own]]
    return found & table.positive


def leave_one_service_out(listed: Sequence[Series]) -> Iterator[tuple[str, list[Series], list[Series]]]:
    """For each service: its name, the series of the others, its own."""
    for service in sorted({series.service for series in listed}):
        own = [series for series in listed if series.service == service]
        yield service, [series for series in listed if series.service != service], own
