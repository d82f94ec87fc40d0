"""Metrics of the process and of its HTTP surface, on a registry of the application's own.

The names and labels are those of prometheus-fastapi-instrumentator, so that dashboards made for it work, and its router
lookup is used. Its middleware is not: it matches every request to the routes a second time, fails on a query that is
not UTF-8, and on any request when it is given labels of ours. The frame notes the requests instead.
"""

from collections.abc import Iterator
from typing import Annotated

from fastapi import FastAPI, Header, Response
from opentelemetry import trace
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client import generate_latest as exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_fastapi_instrumentator.routing import get_route_name
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import Scope

from shared.chassis.database import Database
from shared.telemetry.requests import METHODS

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)
_LABELS = ("service", "handler", "method", "status")
NO_ROUTE = "none"
"""In place of a route's template: the request was refused before it reached the routes, or there is no such route."""
_OPENMETRICS = "application/openmetrics-text"
_NO_ANSWER = "499"
"""What proxies log as the status of a request that was given up before its answer began."""


class RequestMetrics:
    """Counts and times requests by route template, method and status."""

    def __init__(self, service: str, registry: CollectorRegistry) -> None:
        self._service = service
        self._requests = Counter("http_requests_total", "Requests answered", _LABELS, registry=registry)
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time to the end of the answer",
            _LABELS,
            buckets=BUCKETS,
            registry=registry,
        )
        # by handler, method and status, each of which has few values: finding the children costs more than using them
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def note(self, scope: Scope, status: int, seconds: float) -> str:
        """Count one request, with its trace if that is recorded; returns the template of its route, or `NO_ROUTE`."""
        route, method = _template(scope), scope["method"]
        if method not in METHODS:
            method = "other"
        key = (route, method, status)
        children = self._children.get(key)
        if children is None:
            labels = (self._service, route, method, str(status or _NO_ANSWER))
            children = self._children[key] = (self._requests.labels(*labels), self._seconds.labels(*labels))
        children[0].inc()
        children[1].observe(seconds, _exemplar())
        return route


class DatabaseCollector(Collector):
    """What the database has done, and the connections of its pools, read when scraped."""

    def __init__(self, service: str, database: Database) -> None:
        self._service, self._database = service, database

    def collect(self) -> Iterator[Metric]:
        """`db_pool_connections_active` and `_max` by pool, `db_statements_total` and `db_commits_total`."""
        active = GaugeMetricFamily(
            "db_pool_connections_active", "Database connections in use", labels=["service", "pool"]
        )
        most = GaugeMetricFamily("db_pool_connections_max", "Database connections at most", labels=["service", "pool"])
        for pool, (used, size) in self._database.pools().items():
            active.add_metric([self._service, pool], used)
            most.add_metric([self._service, pool], size)
        yield active
        yield most
        for name, meaning, count in (
            ("db_statements", "Statements that the database was given", self._database.statements),
            ("db_commits", "Transactions committed", self._database.commits),
        ):
            family = CounterMetricFamily(name, meaning, labels=["service"])
            family.add_metric([self._service], count)
            yield family


def expose(app: FastAPI, service: str, database: Database, registry: CollectorRegistry) -> None:
    """Serve `/metrics`, with the process and the pools in it."""
    ProcessCollector(registry=registry)
    registry.register(DatabaseCollector(service, database))

    @app.get("/metrics", tags=["operations"], response_class=PlainTextResponse)
    def metrics(accept: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
        """Everything measured, as Prometheus text; who takes OpenMetrics gets that, which has exemplars."""
        # not async: a thread writes the text while the loop serves
        if _OPENMETRICS in accept:
            text = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
            return Response(text, media_type=openmetrics.CONTENT_TYPE_LATEST)
        return Response(exposition(registry), media_type=CONTENT_TYPE_LATEST)


def _exemplar() -> dict[str, str] | None:
    """The present trace, for whoever wonders about a bucket; an unrecorded one leads nowhere."""
    context = trace.get_current_span().get_span_context()
    return {"trace_id": f"{context.trace_id:032x}"} if context.trace_flags.sampled else None


def _template(scope: Scope) -> str:
    chosen = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    if chosen is not None:
        return str(chosen.path)
    return get_route_name(HTTPConnection(scope), should_include_root_path=False) or NO_ROUTE
