"""The order service's calls as it sees them itself: an edge of the topology has two ends."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Histogram

from shared.chassis.metrics import BUCKETS

ANSWERED, FAILED, CUT = "answered", "failed", "cut"


class CallMetrics:
    """`http_client_request_duration_seconds` by `to` (the service called) and `outcome`, one sample an attempt.

    answered: any answer that the caller can use, a refusal too; failed: none, or one that asks to try again;
    cut: given up by the caller itself, by a time limit or because a hedge was quicker
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "http_client_request_duration_seconds",
            "Attempts to call another service, and what they took",
            ["to", "outcome"],
            buckets=BUCKETS,
            registry=registry,
        )

    def edge(self, to: str) -> "EdgeMetrics":
        """The metrics of the calls to one service."""
        return EdgeMetrics(*(self._seconds.labels(to, outcome) for outcome in (ANSWERED, FAILED, CUT)))


class EdgeMetrics:
    """Times the calls to one service."""

    def __init__(self, answered: Histogram, failed: Histogram, cut: Histogram) -> None:
        self._answered, self._failed, self._cut = answered, failed, cut

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Note the attempt inside the block, by how it ends."""
        started, outcome = time.perf_counter(), self._failed
        try:
            yield
            outcome = self._answered
        except asyncio.CancelledError:
            outcome = self._cut
            raise
        finally:
            outcome.observe(time.perf_counter() - started)
