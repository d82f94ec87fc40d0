"""From series to rows for a learner, and how they are divided without looking ahead."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.datasets.recording import Series
from ml.features.prometheus import Matrix
from ml.features.windows import HISTORY, features
from ml.labels import HORIZON, labels

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


def rows(listed: Sequence[Series]) -> Rows:
    """Every usable minute of the series."""
    blocks, labelled, owners, minutes = [], [], [], []
    for place, series in enumerate(listed):
        if len(series) < HISTORY:
            continue
        positive, used = labels(len(series), list(series.breaches))
        chosen = np.flatnonzero(used[HISTORY - 1 :])
        blocks.append(features(series.signals)[chosen])
        minute = chosen + HISTORY - 1
        labelled.append(positive[minute])
        owners.append(np.full(len(chosen), place))
        minutes.append(minute)
    if not blocks:
        raise ValueError(f"no series of {HISTORY} minutes or more")
    return Rows(np.concatenate(blocks), np.concatenate(labelled), np.concatenate(owners), np.concatenate(minutes))


def chronological(listed: Sequence[Series], share: float, minute_seconds: float) -> tuple[list[Series], list[Series]]:
    """The earlier series, and the later `share` of them, with an embargo between.

    Series that lie within a horizon's and a history's length of the boundary are in neither part: what they saw
    overlaps. Stretches recorded side by side on two stacks fall on the same side.
    """
    moments = sorted({series.began for series in listed})
    boundary = moments[min(len(moments) - 1, int(len(moments) * (1 - share)))]
    embargo = (HORIZON + HISTORY) * minute_seconds
    earlier = [each for each in listed if each.began + len(each) * minute_seconds + embargo <= boundary]
    later = [each for each in listed if each.began >= boundary]
    return earlier, later


def leave_one_service_out(listed: Sequence[Series]) -> Iterator[tuple[str, list[Series], list[Series]]]:
    """For each service: its name, the series of the others, its own."""
    for service in sorted({series.service for series in listed}):
        own = [series for series in listed if series.service == service]
        yield service, [series for series in listed if series.service != service], own
