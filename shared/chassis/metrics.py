"""Metrics of the process and of its HTTP surface, on a registry of the application's own."""

from collections.abc import Callable, Iterator

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from prometheus_fastapi_instrumentator import Instrumentator
from prometheus_fastapi_instrumentator.metrics import Info

from shared.chassis.database import Database

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)


class PoolCollector(Collector):
    """Connections of the database pools, read when scraped."""

    def __init__(self, service: str, database: Database) -> None:
        self._service, self._database = service, database

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """`db_pool_connections_active` and `_max`, by pool."""
        active = GaugeMetricFamily(
            "db_pool_connections_active", "Database connections in use", labels=["service", "pool"]
        )
        most = GaugeMetricFamily("db_pool_connections_max", "Database connections at most", labels=["service", "pool"])
        for pool, (used, size) in self._database.pools().items():
            active.add_metric([self._service, pool], used)
            most.add_metric([self._service, pool], size)
        yield active
        yield most


def _red(service: str, registry: CollectorRegistry) -> Callable[[Info], None]:
    # the library's own measures cannot carry a constant label, and count five things where two are asked for
    labels = ("service", "method", "handler", "status")
    requests = Counter("http_requests_total", "Requests by route and status", labels, registry=registry)
    seconds = Histogram(
        "http_request_duration_seconds",
        "Time to answer",
        ("service", "method", "handler"),
        buckets=BUCKETS,
        registry=registry,
    )

    def measure(info: Info) -> None:
        requests.labels(service, info.method, info.modified_handler, info.modified_status).inc()
        seconds.labels(service, info.method, info.modified_handler).observe(info.modified_duration)

    return measure


def instrument(app: FastAPI, service: str, database: Database, registry: CollectorRegistry) -> None:
    """Count and time every request by method, route and status, and serve `/metrics`."""
    ProcessCollector(registry=registry)
    registry.register(PoolCollector(service, database))
    instrumentator = Instrumentator(
        should_group_status_codes=False, excluded_handlers=["^/health/", "^/metrics$", "^/info$"], registry=registry
    )
    instrumentator.add(_red(service, registry))
    instrumentator.instrument(app).expose(app, include_in_schema=False)
