"""Arithmetic of the benches: medians, spreads, and the ratios of slices that ran beside each other."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.load import Sample


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several figures, and how far apart they lie: the quartiles, the least and the greatest."""

    median: float
    low: float
    high: float
    least: float
    most: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> "Spread":
        """Of two figures at least."""
        low, _, high = statistics.quantiles(figures, n=4, method="inclusive")
        return cls(statistics.median(figures), low, high, min(figures), max(figures))

    def shown(self, digits: int = 2) -> str:
        """`4.10 (3.95 to 4.31)`: the median, and the half of the figures around it."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice of a load gave: orders a second that were taken (201 or 202), and seconds at two percentiles."""

    pace: float
    p50: float
    p99: float
    failed: int
    cpu: float
    """CPU seconds that an order took of all processes of the stack together."""

    @classmethod
    def of(cls, samples: Sequence[Sample], seconds: float, cpu: float = 0.0) -> "Slice":
        """Of a closed loop that lasted so long; what came in later does not count for the pace."""
        taken = [sample for sample in samples if sample.status in (201, 202)]
        if not taken:
            raise SystemExit(f"no order was taken; the answers: {dict(Counter(sample.status for sample in samples))}")
        in_time = sum(sample.at + sample.seconds <= seconds for sample in taken)
        return cls(
            in_time / seconds,
            percentile([sample.seconds for sample in taken], 50),
            percentile([sample.seconds for sample in taken], 99),
            len(samples) - len(taken),
            cpu / len(taken),
        )


def percentile(figures: Sequence[float], percent: float) -> float:
    """The smallest figure that so many percent of all do not exceed (nearest rank); nan of nothing."""
    if not figures:
        return float("nan")
    ordered = sorted(figures)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def ratios(ours: Sequence[float], others: Sequence[float]) -> Spread:
    """Each of ours by the other's of the same round: what the machine did meanwhile fell on both."""
    return Spread.of([mine / other for mine, other in zip(ours, others, strict=True)])
