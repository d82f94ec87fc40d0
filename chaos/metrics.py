"""Reads metrics: Prometheus' answers over its API, and the few series that matter from a replica's own `/metrics`."""

import re
from collections.abc import Collection
from typing import Any

import httpx

from chaos.recording import Series
from chaos.targets.target import Replica

ALWAYS = frozenset(
    {
        "resilience4j_circuitbreaker_state",
        "resilience4j_retry_calls_total",
        "resilience_retry_attempts_total",
        "http_requests_total",
        "faults_active",
        "faults_struck_total",
        "requests_shed_total",
    }
)
"""What every recording holds, for verdicts and reports."""

_LINE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


def readings(text: str, replica: Replica, wanted: Collection[str]) -> dict[Series, float]:
    """The wanted series of one `/metrics`.

    A parser of the whole format takes 30 ms for what a replica shows; a scrape a second of five of them would be load.
    """
    found: dict[Series, float] = {}
    for line in text.splitlines():
        name = line[: min((i for i in (line.find("{"), line.find(" ")) if i > 0), default=0)]
        if name not in wanted:
            continue
        matched = _LINE.match(line)
        if matched:
            labels = frozenset((key, value) for key, value in _LABEL.findall(matched[2] or ""))
            found[Series(name, replica.service, replica.name, labels)] = float(matched[3])
    return found


class Prometheus:
    """The HTTP API of a Prometheus. Raises `httpx.HTTPError`, or `ValueError` for a query that it refuses."""

    def __init__(self, url: str, client: httpx.Client) -> None:
        self._url = url
        self._client = client

    def query(self, promql: str) -> list[float]:
        """The values of an instant query; empty when nothing matches."""
        answer = self._get("/api/v1/query", {"query": promql})
        if answer["resultType"] in ("scalar", "string"):
            return [float(answer["result"][1])]
        return [float(row["value"][1]) for row in answer["result"]]

    def alerts(self) -> dict[str, str]:
        """Each alert that is pending or firing; firing wins where an alert has several series."""
        states: dict[str, str] = {}
        for alert in self._get("/api/v1/alerts", {})["alerts"]:
            name = alert["labels"]["alertname"]
            if states.get(name) != "firing":
                states[name] = alert["state"]
        return states

    def _get(self, path: str, parameters: dict[str, str]) -> Any:
        response = self._client.get(self._url + path, params=parameters, timeout=4)
        try:
            body = response.json()
        except ValueError:
            response.raise_for_status()
            raise
        if body.get("status") != "success":
            raise ValueError(f"{parameters.get('query', path)}: {body.get('error', response.status_code)}")
        return body["data"]
