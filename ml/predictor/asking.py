"""The questions of one minute. What does not come in time, or cannot be true, is a gap, with its reason."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ml.features.outcomes import seen
from ml.features.prometheus import Grid, Matrix, Prometheus, PrometheusUnavailable
from ml.features.signals import SIGNALS, Scale
from ml.features.windows import HISTORY

_AT_ONCE = 8
"""Questions under way: Prometheus has others to answer."""

_MOST = 1e9
"""No signal is negative or larger than this; who says so lies, and its squares would drown the rest."""


_LONGEST_REASON = 200
"""Characters: an error may quote all that Prometheus sent."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Minutes x questions, NaN for gaps; and for each question that was not answered at all, why."""

    columns: Matrix
    failures: Mapping[str, str]

    def failed(self, why: str) -> list[str]:
        """The questions that failed for this reason."""
        return [name for name, reason in self.failures.items() if reason == why]


class Questions:
    """Asks about one service at a time. All questions of a minute end by its deadline."""

    def __init__(self, prometheus: Prometheus, scale: Scale) -> None:
        self._prometheus, self._scale = prometheus, scale
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def signals(self, service: str, at: float, deadline: float) -> Asked:
        """The last `HISTORY` minutes of every signal. `at`: seconds since 1970; `deadline`: the loop's time."""
        return await self._ask({signal.name: signal.query for signal in SIGNALS}, service, at, HISTORY, deadline)

    async def outcomes(self, service: str, at: float, minutes: int, deadline: float) -> Asked:
        """The error ratio and the 99th percentile that the callers of a service saw."""
        return await self._ask(seen(service), service, at, minutes, deadline)

    async def _ask(self, queries: Mapping[str, str], service: str, at: float, minutes: int, deadline: float) -> Asked:
        grid = Grid(end=at, step=self._scale.minute, count=minutes)
        failures: dict[str, str] = {}

        async def one(name: str, query: str) -> Matrix:
            try:
                async with asyncio.timeout_at(deadline), self._room:
                    column = await self._prometheus.column(self._scale.fill(query, service), grid)
            except PrometheusUnavailable as error:
                failures[name] = str(error)[:_LONGEST_REASON]
            except TimeoutError:
                failures[name] = "no answer in time"
            else:
                possible = (column >= 0) & (column <= _MOST)
                return np.where(possible, column, np.nan)
            return np.full(minutes, np.nan)

        columns = await asyncio.gather(*(one(name, query) for name, query in queries.items()))
        return Asked(np.stack(columns, axis=1), failures)
