"""Where evidence comes from: the predictor, and Prometheus for what users see. Neither is trusted or may hang."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import orjson

from ml.remediation import evidence
from ml.remediation.evidence import Evidence

MOST_BYTES = 2**20
_REQUESTS = 'sum by (service) (rate(http_requests_total{service=~"$services"}[$window]))'
_ERRORS = 'sum by (service) (rate(http_requests_total{service=~"$services",status=~"5.."}[$window]))'
_BUCKETS = 'sum by (service, le) (rate(http_request_duration_seconds_bucket{service=~"$services"}[$window]))'
_ERROR_RATIO = f"({_ERRORS} or 0 * {_REQUESTS}) / ({_REQUESTS} > 0)"
_P99 = f"histogram_quantile(0.99, {_BUCKETS})"
_MOST_ERRORS, _LONGEST_P99 = 0.05, 1.0


class Away(Exception):
    """Nobody answered, or not in a form that can be read."""


class Sources:
    """The predictor and Prometheus.

    prometheus: empty: nobody can tell what users see
    seconds:    what the answer to one question may take
    minute:     seconds that count as a minute
    """

    def __init__(
        self, client: httpx.AsyncClient, predictor: str, prometheus: str, *, seconds: float = 5.0, minute: float = 60.0
    ) -> None:
        self._client, self._seconds = client, seconds
        self._predictor, self._prometheus = predictor.rstrip("/"), prometheus.rstrip("/")
        self._window = f"{max(10, round(2 * minute))}s"

    async def evidence(self, services: Sequence[str], now: float, stale_seconds: float) -> dict[str, Evidence]:
        """What is known about each service now (seconds since 1970). Whatever goes wrong is in `unknown`."""
        found, breached = await asyncio.gather(
            self._predictions(services, now, stale_seconds), self._breached(services)
        )
        return {name: replace(each, breached=breached.get(name)) for name, each in found.items()}

    async def _predictions(self, services: Sequence[str], now: float, stale_seconds: float) -> dict[str, Evidence]:
        try:
            answer = await self._get(f"{self._predictor}/predictions", {})
        except Away as error:
            return evidence.nothing(services, f"the predictor: {error}")
        return evidence.read(answer, services, now, stale_seconds)

    async def _breached(self, services: Sequence[str]) -> dict[str, bool]:
        """Whether users see it, for those services of which it can be told."""
        if not self._prometheus or not services:
            return {}
        errors, slow = await asyncio.gather(self._vector(_ERROR_RATIO, services), self._vector(_P99, services))
        return {
            service: errors.get(service, 0.0) > _MOST_ERRORS or slow.get(service, 0.0) > _LONGEST_P99
            for service in services
            if service in errors or service in slow
        }

    async def _vector(self, query: str, services: Sequence[str]) -> dict[str, float]:
        text = query.replace("$services", "|".join(services)).replace("$window", self._window)
        try:
            answer = await self._get(f"{self._prometheus}/api/v1/query", {"query": text})
            return _values(answer["data"]["result"])
        except (Away, KeyError, TypeError, ValueError, IndexError, AttributeError):
            return {}

    async def _get(self, url: str, parameters: dict[str, str]) -> Any:
        try:
            async with asyncio.timeout(self._seconds), self._client.stream("GET", url, params=parameters) as response:
                if response.status_code != httpx.codes.OK:
                    raise Away(f"status {response.status_code}")
                body = bytearray()
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise Away("an answer without end")
            return orjson.loads(body)
        except TimeoutError as error:
            raise Away(f"no answer in {self._seconds:g} s") from error
        except httpx.HTTPError as error:
            raise Away(f"{type(error).__name__}") from error
        except ValueError as error:
            raise Away("not JSON") from error


def _values(result: Any) -> dict[str, float]:
    """By service. One that comes twice, or is not a number, is left out."""
    found: dict[str, float] = {}
    twice: set[str] = set()
    for series in result:
        service, value = str(series["metric"]["service"]), float(series["value"][1])
        if service in found:
            twice.add(service)
        if math.isfinite(value):
            found[service] = value
    return {service: value for service, value in found.items() if service not in twice}
