"""Judges the slope of each series by its bound."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import yaml

from tests.soak.slope import Life, slope

BOUNDS = Path(__file__).with_name("bounds.yaml")
SHORT_WINDOW_SECONDS = 225.0
"""What is judged of a soak of five minutes."""
_LEAST_SEEN = 0.15
"""Of the judged time, and of the samples in it: what was seen less tells nothing of the whole."""

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Bound:
    """A line of `bounds.yaml`."""

    metric: str
    unit: str
    an_hour: float
    resolved: float
    means: str
    share: bool = False
    alone: bool = False

    def over(self, seconds: float) -> float:
        """The growth that is allowed over so long a window, in the metric's unit or as a share."""
        return max(self.an_hour * seconds / _HOUR, self.resolved * math.sqrt(SHORT_WINDOW_SECONDS / seconds))


@dataclass(frozen=True, slots=True)
class Point:
    """One sample: a moment in Unix seconds, the value, and which life of the process it belongs to (its pid)."""

    at: float
    value: float
    life: int = 0


@dataclass(slots=True)
class Series:
    """All samples by metric and process."""

    points: dict[tuple[str, str], list[Point]] = field(default_factory=dict)

    def add(self, metric: str, process: str, point: Point) -> None:
        """One more."""
        self.points.setdefault((metric, process), []).append(point)


@dataclass(frozen=True, slots=True)
class Window:
    """From when to when, in Unix seconds; what lies in one of `without` does not count.

    shared: when others had much of the machine; what lies in there does not count for bounds that say `alone`
    """

    start: float
    end: float
    warm_up: float
    without: Sequence[tuple[float, float]] = ()
    shared: Sequence[tuple[float, float]] = ()

    @property
    def judged_seconds(self) -> float:
        """From the end of the warm-up on."""
        return self.end - self.start - self.warm_up

    def alone(self) -> "Window":
        """The same, without the time in which the stack had not the machine for itself."""
        return replace(self, without=[*self.without, *self.shared])

    def calm(self, start: float, end: float) -> bool:
        """Nothing that does not count lies between these moments."""
        return not any(since <= end and start <= until for since, until in self.without)

    def lives(self, points: Iterable[Point]) -> list[Life]:
        """The points that count, by life; each life has a warm-up of its own."""
        lives: dict[int, list[Point]] = {}
        for point in points:
            lives.setdefault(point.life, []).append(point)
        kept = []
        for life in lives.values():
            begins = max(self.start, min(point.at for point in life)) + self.warm_up
            sampled = [(point.at, point.value) for point in life if begins <= point.at <= self.end]
            counted = [point for point in sampled if self.calm(point[0], point[0])]
            if (
                len(counted) > _LEAST_SEEN * len(sampled)
                and counted[-1][0] - counted[0][0] >= _LEAST_SEEN * self.judged_seconds
            ):
                kept.append(counted)
        return kept


class Verdict(StrEnum):
    """Of one series."""

    FLAT = "flat"
    GROWS = "GROWS"
    TOO_LITTLE = "too little seen"


@dataclass(frozen=True, slots=True)
class Finding:
    """One series judged.

    grew, low, high: the slope over the judged window, and its interval, in the metric's unit or as a share
    most:            what it may grow over that window
    level:           the median of what counted, in the metric's unit
    """

    metric: str
    process: str
    unit: str
    share: bool
    verdict: Verdict
    most: float
    grew: float = math.nan
    low: float = math.nan
    high: float = math.nan
    level: float = math.nan
    points: int = 0


def read_bounds(path: Path = BOUNDS) -> dict[str, Bound]:
    """The table, by metric."""
    return {line["metric"]: Bound(**line) for line in yaml.safe_load(path.read_text(encoding="utf-8"))}


def judge(series: Series, window: Window, bounds: Mapping[str, Bound]) -> list[Finding]:
    """Every series that has a bound, in the order of the table."""
    order = list(bounds)
    named = sorted((name for name in series.points if name[0] in bounds), key=lambda name: (order.index(name[0]), name))
    return [_judge_one(name, series.points[name], window, bounds[name[0]]) for name in named]


def _judge_one(name: tuple[str, str], points: Sequence[Point], window: Window, bound: Bound) -> Finding:
    counting = window.alone() if bound.alone else window
    lives, seconds = counting.lives(points), window.judged_seconds
    most = bound.over(seconds)
    found = slope([_logarithms(life) for life in lives] if bound.share else lives)
    if found is None:
        return Finding(*name, bound.unit, bound.share, Verdict.TOO_LITTLE, most)
    level = statistics.median(value for life in lives for _, value in life)
    grew, low, high = (
        math.expm1(each * seconds) if bound.share else each * seconds for each in (found.median, found.low, found.high)
    )
    verdict = Verdict.GROWS if low > most else Verdict.FLAT
    return Finding(*name, bound.unit, bound.share, verdict, most, grew, low, high, level, found.points)


def _logarithms(life: Life) -> Life:
    return [(at, math.log(value)) for at, value in life if value > 0]
