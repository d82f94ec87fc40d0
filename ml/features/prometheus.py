"""Asks Prometheus, and believes nothing it cannot check: what is malformed, doubled or not a number is a gap."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import orjson

Matrix = npt.NDArray[np.float64]

_MOST_POINTS = 11_000
"""Prometheus refuses a range query of more points a series."""

_MOST_BYTES = 4 * 2**20
"""So many points of one series take less than a tenth of it."""


class PrometheusUnavailable(Exception):
    """Prometheus did not answer, or not in its own format."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The moments asked for: `count` of them, `step` seconds apart, the last one at `end` (seconds since 1970)."""

    end: float
    step: float
    count: int

    @property
    def start(self) -> float:
        """The first moment."""
        return self.end - self.step * (self.count - 1)

    def times(self) -> Matrix:
        """All of them."""
        return self.start + self.step * np.arange(self.count, dtype=np.float64)


class Prometheus:
    """Prometheus's query API. Every call is bounded by the client's timeout."""

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client, self._url = client, url.rstrip("/")

    async def column(self, query: str, grid: Grid) -> Matrix:
        """The query's value at each moment of the grid; NaN where there is none.

        Raises PrometheusUnavailable: no answer, an error, or an answer that is not one series.
        """
        column = np.full(grid.count, np.nan)
        for first in range(0, grid.count, _MOST_POINTS):
            count = min(_MOST_POINTS, grid.count - first)
            part = Grid(grid.start + grid.step * (first + count - 1), grid.step, count)
            column[first : first + count] = await self._part(query, part)
        return column

    async def _part(self, query: str, grid: Grid) -> Matrix:
        parameters = {"query": query, "start": repr(grid.start), "end": repr(grid.end), "step": repr(grid.step)}
        try:
            async with self._client.stream("POST", f"{self._url}/api/v1/query_range", data=parameters) as response:
                body = orjson.loads(await _bounded(response))
        except (httpx.HTTPError, ValueError) as error:
            raise PrometheusUnavailable(f"{type(error).__name__}: {error}") from error
        if not isinstance(body, dict) or body.get("status") != "success":
            reason = body.get("error", "no status") if isinstance(body, dict) else "not an object"
            raise PrometheusUnavailable(f"{response.status_code}: {str(reason)[:200]}")
        return _read(body, grid)


async def _bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise PrometheusUnavailable(f"more than {_MOST_BYTES} bytes where one series is asked for")
    return bytes(body)


def _read(body: Mapping[str, Any], grid: Grid) -> Matrix:
    try:
        series = body["data"]["result"]
        if len(series) > 1:
            raise PrometheusUnavailable(f"{len(series)} series where the query makes one")
        column = np.full(grid.count, np.nan)
        for moment, text in series[0]["values"] if series else ():
            index = round((float(moment) - grid.start) / grid.step)
            value = float(text)
            if 0 <= index < grid.count and math.isfinite(value):
                column[index] = value
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise PrometheusUnavailable(f"not an answer to a range query: {error}") from error
    return column
