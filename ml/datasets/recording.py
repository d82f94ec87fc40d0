"""Reads recorded campaigns: one unbroken series for each stretch and service."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml.features.prometheus import Matrix
from ml.features.signals import CALLEES, FELT, OWN, SERVICES
from ml.labels import Breach, Objective, breaches

Texts = npt.NDArray[np.str_]

QUIET = "unattributed"
"""The kind of a breach that began while no fault was in force."""

ABRUPT = "abrupt"
"""How a fault comes that announces nothing."""

_AFTERMATH = 10
"""Minutes after a fault in which a breach still counts as its own."""


class DatasetError(Exception):
    """A file that is not a recording, or not one of these signals."""


@dataclass(frozen=True, slots=True)
class Series:
    """One service in one stretch, a minute a row.

    signals:    minutes x signals, NaN for gaps
    breaches:   what its callers saw
    kinds:      for each breach the fault in force, and how that fault comes (`gradual`, `abrupt`, `harmless`)
    began:      seconds since 1970
    """

    run: str
    service: str
    began: float
    signals: Matrix
    breaches: tuple[Breach, ...]
    kinds: tuple[tuple[str, str], ...]

    def __len__(self) -> int:
        return len(self.signals)

    def first(self, minutes: int) -> "Series":
        """What was known of it after so many minutes: the signals until then, and the breaches that had begun."""
        count = sum(breach.start < minutes for breach in self.breaches)
        return replace(
            self,
            signals=self.signals[:minutes],
            breaches=tuple(Breach(each.start, min(each.end, minutes)) for each in self.breaches[:count]),
            kinds=self.kinds[:count],
        )


def load(directory: Path, objective: Objective | None = None) -> list[Series]:
    """Every series under a directory, in the order of time. Raises DatasetError."""
    found: list[Series] = []
    for path in sorted(directory.glob("*.parquet")):
        found += _series(path, objective or Objective())
    if not found:
        raise DatasetError(f"{directory}: no recording (*.parquet) there")
    return sorted(found, key=lambda series: (series.began, series.service))


def _series(path: Path, objective: Objective) -> Iterator[Series]:
    try:
        table = pq.read_table(path)
        parts = {
            service: table.filter(pc.equal(table["service"].cast(pa.string()), service)).sort_by("minute")
            for service in SERVICES
        }
        for service, part in parts.items():
            callees = [parts[callee] for callee in CALLEES.get(service, ()) if parts[callee].num_rows]
            if part.num_rows:
                yield _one(part, service, callees, objective)
    except (pa.ArrowException, KeyError) as error:
        raise DatasetError(f"{path}: not a recording of these signals: {error}") from error


def _one(part: pa.Table, service: str, callees: list[pa.Table], objective: Objective) -> Series:
    columns = [_floats(part, name) for name in OWN]
    columns += [_worst([_floats(callee, name) for callee in callees], part.num_rows) for name in FELT]
    found = breaches(_floats(part, "seen_error_ratio"), _floats(part, "seen_p99"), objective)
    episodes, onsets = (part[name].to_pylist() for name in ("episode", "onset"))
    active = part["active"].to_pylist()
    kinds = tuple(_kind(breach, episodes, onsets, active) for breach in found)
    return Series(
        run=part["run"][0].as_py(),
        service=service,
        began=part["time"][0].as_py(),
        signals=np.stack(columns, axis=1),
        breaches=tuple(found),
        kinds=kinds,
    )


def _worst(columns: list[Matrix], minutes: int) -> Matrix:
    """As Prometheus's `max`: of those that are known; a minute of which none is stays a gap."""
    worst = np.full(minutes, np.nan)
    for column in columns:
        worst = np.fmax(worst, column)
    return worst


def _floats(part: pa.Table, name: str) -> Matrix:
    return np.asarray(part[name].to_numpy(zero_copy_only=False), dtype=np.float64)


def _kind(breach: Breach, episodes: list[str], onsets: list[str], active: list[bool]) -> tuple[str, str]:
    for minute in range(breach.start, max(-1, breach.start - _AFTERMATH), -1):
        if active[minute]:
            return episodes[minute], onsets[minute]
    return QUIET, QUIET
