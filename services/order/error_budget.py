"""The error budget: how much of what the objectives allow is used up, and what follows from that.

Thresholds and actions are the tutorial's: under 10 % left is CRITICAL, under 25 % WARNING. The numbers come from
Prometheus where there is one; without it, from this replica's own counters since its start, and the answer says so.
"""

import math
from dataclasses import dataclass
from typing import Literal

import httpx
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

AVAILABILITY, LATENCY_P99_SECONDS, ERROR_RATE = 0.999, 1.0, 0.001
WINDOW = "30d"

_ROUTES = 'service="order",handler=~"/orders.*"'
_TOTAL = f"sum(increase(http_requests_total{{{_ROUTES}}}[{WINDOW}]))"
_FAILED = f'sum(increase(http_requests_total{{{_ROUTES},status=~"5.."}}[{WINDOW}]))'
_P99 = f"histogram_quantile(0.99, sum by (le) (increase(http_request_duration_seconds_bucket{{{_ROUTES}}}[{WINDOW}])))"
_QUERY_SECONDS = 2.0

Status = Literal["HEALTHY", "WARNING", "CRITICAL", "UNKNOWN"]


class Objectives(BaseModel):
    """What is promised."""

    availability: float = AVAILABILITY
    latency_p99_seconds: float = LATENCY_P99_SECONDS
    error_rate: float = ERROR_RATE


class ErrorBudget(BaseModel):
    """Where the service stands against its objectives.

    budget: failed requests that the availability objective allows among those served; budget_left may be negative
    """

    objectives: Objectives = Objectives()
    source: str
    window: str
    requests: float | None = None
    failed: float | None = None
    error_rate: float | None = None
    latency_p99_seconds: float | None = None
    budget: float | None = None
    budget_left: float | None = None
    budget_left_percent: float | None = None
    status: Status
    action: str


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests served, those that failed (5xx), and the 99th percentile of their time, where it is known."""

    requests: float
    failed: float
    p99_seconds: float | None


def check_error_budget(traffic: Traffic, source: str, window: str) -> ErrorBudget:
    """Judge the traffic by the objectives."""
    if traffic.requests <= 0:
        return ErrorBudget(source=source, window=window, status="UNKNOWN", action="No traffic yet: nothing to judge.")
    budget = traffic.requests * (1 - AVAILABILITY)
    left = budget - traffic.failed
    percent = left / budget * 100
    status, action = _verdict(percent)
    return ErrorBudget(
        source=source,
        window=window,
        requests=traffic.requests,
        failed=traffic.failed,
        error_rate=traffic.failed / traffic.requests,
        latency_p99_seconds=traffic.p99_seconds,
        budget=budget,
        budget_left=left,
        budget_left_percent=percent,
        status=status,
        action=action,
    )


async def from_prometheus(http: httpx.AsyncClient, url: str) -> Traffic:
    """Traffic of all replicas over the window. Raises `httpx.HTTPError`; `ValueError`: not Prometheus' answer."""
    return Traffic(
        requests=await _query(http, url, _TOTAL) or 0.0,
        failed=await _query(http, url, _FAILED) or 0.0,
        p99_seconds=await _query(http, url, _P99),
    )


def from_registry(registry: CollectorRegistry) -> Traffic:
    """Traffic of this replica since its start; the percentile is the upper bound of its histogram bucket."""
    requests = failed = 0.0
    buckets: dict[float, float] = {}
    for family in registry.collect():
        for sample in family.samples:
            if not sample.labels.get("handler", "").startswith("/orders"):
                continue
            if sample.name == "http_requests_total":
                requests += sample.value
                failed += sample.value if sample.labels["status"].startswith("5") else 0.0
            elif sample.name == "http_request_duration_seconds_bucket":
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + sample.value
    return Traffic(requests, failed, _percentile(buckets, 0.99))


def _percentile(buckets: dict[float, float], quantile: float) -> float | None:
    total = max(buckets.values(), default=0.0)
    reached = (bound for bound, count in sorted(buckets.items()) if count >= total * quantile)
    bound = next(reached, None) if total else None
    return bound if bound is not None and math.isfinite(bound) else None


def _verdict(percent_left: float) -> tuple[Status, str]:
    if percent_left < 10:
        return "CRITICAL", "STOP all risky deployments. Focus on reliability."
    if percent_left < 25:
        return "WARNING", "Slow down feature velocity. Prioritize fixes."
    return "HEALTHY", "Continue normal operations."


async def _query(http: httpx.AsyncClient, url: str, query: str) -> float | None:
    response = await http.get(f"{url.rstrip('/')}/api/v1/query", params={"query": query}, timeout=_QUERY_SECONDS)
    response.raise_for_status()
    try:
        result = response.json()["data"]["result"]
        value = float(result[0]["value"][1]) if result else None
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError("not an answer of Prometheus") from error
    return value if value is not None and math.isfinite(value) else None
