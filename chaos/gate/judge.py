"""Asks Prometheus, and says whether an objective holds. Not knowing is a no: no experiment runs blind."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx

from chaos.gate.objectives import Check, Objective


class Answer(StrEnum):
    """What the gate says."""

    OK = "ok"
    BREACHED = "breached"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Judgement:
    """An answer with what it rests on; `reason` is empty when everything holds."""

    answer: Answer
    readings: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


class Unknown(Exception):
    """Prometheus is away, refuses the query, or has no number for it."""


class Judge:
    """Judges objectives by the Prometheus behind `client`, whose base URL it is.

    Args:
        client: asks Prometheus.
        timeout_seconds: for one judgement, all of its queries together.
    """

    def __init__(self, client: httpx.AsyncClient, timeout_seconds: float) -> None:
        self._client = client
        self._timeout = timeout_seconds

    async def judge(self, objective: Objective) -> Judgement:
        """Whether every check of an objective holds now."""
        try:
            async with asyncio.timeout(self._timeout):
                values = await asyncio.gather(*(self._read(check) for check in objective.checks))
        except Unknown as error:
            return Judgement(Answer.UNKNOWN, reason=str(error))
        except TimeoutError:
            return Judgement(Answer.UNKNOWN, reason=f"Prometheus did not answer within {self._timeout:g} s")
        except httpx.HTTPError as error:
            return Judgement(Answer.UNKNOWN, reason=f"Prometheus cannot be asked: {type(error).__name__}")
        readings = {check.reading: value for check, value in zip(objective.checks, values, strict=True)}
        broken = [check for check in objective.checks if not check.holds(readings[check.reading])]
        if not broken:
            return Judgement(Answer.OK, readings)
        reason = "; ".join(f"{check.reading} is {readings[check.reading]:.4g}, not {check.bound}" for check in broken)
        return Judgement(Answer.BREACHED, readings, reason)

    async def _read(self, check: Check) -> float:
        response = await self._client.get(
            "/api/v1/query", params={"query": check.promql, "timeout": f"{self._timeout:g}s"}
        )
        values = _values(response, check.reading)
        if not values:
            raise Unknown(f"{check.reading}: Prometheus has no data")
        if not all(map(math.isfinite, values)):
            raise Unknown(f"{check.reading}: Prometheus has no number, as nothing was counted")
        return check.worst(values)


def _values(response: httpx.Response, reading: str) -> list[float]:
    """The numbers of an answer of the HTTP API, which may be anything."""
    try:
        body: Any = response.json()
        if response.status_code != httpx.codes.OK or body["status"] != "success":
            raise Unknown(f"{reading}: Prometheus answered {response.status_code}")
        data = body["data"]
        if data["resultType"] == "scalar":
            return [float(data["result"][1])]
        return [float(series["value"][1]) for series in data["result"]]
    except (ValueError, KeyError, TypeError, IndexError):
        raise Unknown(f"{reading}: Prometheus answered {response.status_code} with something else") from None
