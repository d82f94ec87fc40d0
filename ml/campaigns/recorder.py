"""Reads a finished stretch of a campaign back from Prometheus and writes it down, a Parquet file a stretch."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml.campaigns.schedule import Episode
from ml.features.outcomes import OUTCOMES, seen
from ml.features.prometheus import Grid, Matrix, Prometheus
from ml.features.signals import OWN, SERVICES, SIGNALS, Scale


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of one minute's episode; for the evaluation only."""

    kind: str
    onset: str
    service: str
    active: bool


async def read(prometheus: Prometheus, scale: Scale, service: str, start: float, minutes: int) -> dict[str, Matrix]:
    """Every signal and outcome of a service, for `minutes` minutes from `start` (seconds since 1970)."""
    grid = Grid(end=start + scale.seconds(minutes - 1), step=scale.minute, count=minutes)
    queries = {signal.name: signal.query for signal in SIGNALS if signal.name in OWN} | seen(service)
    columns = await asyncio.gather(*(prometheus.column(scale.fill(query, service), grid) for query in queries.values()))
    return dict(zip(queries, columns, strict=True))


async def record(
    prometheus: Prometheus, scale: Scale, *, run: str, start: float, told: list[Told], directory: Path
) -> Path:
    """Write the minutes from `start`, one for each of `told`, of all services."""
    minutes = len(told)
    tables = []
    for service in SERVICES:
        columns = await read(prometheus, scale, service, start, minutes)
        tables.append(_table(run, start, scale, service, columns, told))
    path = directory / f"{run}.parquet"
    await asyncio.to_thread(_write, pa.concat_tables(tables), path)
    return path


def _write(table: pa.Table, path: Path) -> None:
    unfinished = path.with_suffix(".writing")
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(path)


def _table(
    run: str, start: float, scale: Scale, service: str, columns: dict[str, Matrix], told: list[Told]
) -> pa.Table:
    minutes = np.arange(len(told))
    data = {
        "run": pa.array([run] * len(told)).dictionary_encode(),
        "service": pa.array([service] * len(told)).dictionary_encode(),
        "minute": pa.array(minutes, pa.int32()),
        "time": pa.array(start + scale.minute * minutes, pa.float64()),
        **{name: pa.array(columns[name], pa.float32()) for name in (*OWN, *OUTCOMES)},
        "episode": pa.array([each.kind for each in told]).dictionary_encode(),
        "onset": pa.array([each.onset for each in told]).dictionary_encode(),
        "struck": pa.array([each.service for each in told]).dictionary_encode(),
        "active": pa.array([each.active for each in told]),
    }
    return pa.table(data)


class Diary:
    """Which episode was on at which minute."""

    def __init__(self, start: float, scale: Scale) -> None:
        self._start, self._scale = start, scale
        self._entries: list[tuple[float, float, Episode]] = []

    def played(self, began: float, ended: float, episode: Episode) -> None:
        """An episode acted between two moments (seconds since 1970)."""
        self._entries.append((began, ended, episode))

    def minutes(self, count: int) -> list[Told]:
        """For each minute the episode that acted, or `none`."""
        told = [Told("none", "harmless", "", active=False)] * count
        for began, ended, episode in self._entries:
            first = max(0, int((began - self._start) // self._scale.minute))
            last = min(count, int((ended - self._start) // self._scale.minute) + 1)
            kind = episode.kind
            told[first:last] = [Told(kind.name, kind.onset.value, episode.service, active=True)] * (last - first)
        return told
