"""The way of a span from the receiver to the store: a bounded queue in memory, and one writer behind it.

Everything that is taken in and not yet stored counts against one bound, in spans and in bytes. What does not fit is
refused at the door and counted; what was taken in is lost only with the process.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from services.control_room.arrivals import Arrival
from services.control_room.sampling import TailSampler
from services.control_room.store import TraceStore
from shared.chassis.database import DatabaseUnavailable

_TICK_SECONDS = 0.25
_BATCH = 500
_PRUNE_SECONDS = 30.0
_AGAIN_SECONDS = 1.0
_LAST_WRITES_SECONDS = 0.7

log = structlog.get_logger()


class Intake:
    """Takes spans in, has them sampled, and writes what is kept."""

    def __init__(
        self,
        sampler: TailSampler,
        store: TraceStore,
        metrics: CollectorRegistry,
        *,
        max_spans: int,
        max_bytes: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sampler, self._store, self._monotonic = sampler, store, monotonic
        self._max_spans, self._max_bytes = max_spans, max_bytes
        self._queue: deque[Arrival] = deque()
        self._spans = self._bytes = 0
        self._working = asyncio.Lock()
        self._pruned_at = float("-inf")
        self._received = Counter("otlp_spans_received_total", "Spans offered", ["sender"], registry=metrics)
        self._dropped = Counter(
            "otlp_spans_dropped_total", "Spans refused or lost, by reason", ["reason"], registry=metrics
        )
        for reason in ("queue_full", "malformed"):
            self._dropped.labels(reason)
        self._sampled_out = Counter("otlp_spans_sampled_out_total", "Spans of ordinary traces", registry=metrics)
        self._stored = Counter("otlp_spans_stored_total", "Spans stored", registry=metrics)
        self._store_spans = Gauge("trace_store_spans", "Spans in the store", registry=metrics)
        self._store_bytes = Gauge("trace_store_bytes", "Bytes of the spans in the store", registry=metrics)
        queue = Gauge("otlp_queue_spans", "Spans taken in and not stored yet", registry=metrics)
        queue.set_function(lambda: self._spans)

    @property
    def waiting(self) -> int:
        """Spans taken in and not stored yet."""
        return self._spans

    def offer(self, sender: str, arrivals: list[Arrival], malformed: int, size: int) -> bool:
        """Take the spans of one request in, all or none. False: there is no room, they are counted as dropped."""
        self._received.labels(sender).inc(len(arrivals) + malformed)
        self._dropped.labels("malformed").inc(malformed)
        if self._spans + len(arrivals) > self._max_spans or self._bytes + size > self._max_bytes:
            self._dropped.labels("queue_full").inc(len(arrivals))
            return False
        for arrival in arrivals:
            arrival.size = size // len(arrivals)
            self._bytes += arrival.size
        self._spans += len(arrivals)
        self._sampler.offer(arrivals)
        return True

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            try:
                await self.work()
            except DatabaseUnavailable as error:
                log.warning("traces not stored", reason=str(error), waiting=self._spans)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def finish(self) -> None:
        """Write what is there, as far as a moment lasts. Once nothing else comes in and `run` has ended."""
        try:
            async with asyncio.timeout(_LAST_WRITES_SECONDS):
                await self.work(all_of_them=True)
        except (TimeoutError, DatabaseUnavailable):
            log.warning("traces lost at the end", spans=self._spans)

    async def work(self, *, all_of_them: bool = False) -> None:
        """Decide what is due, store what is kept, forget what is too old. Raises `DatabaseUnavailable`: nothing of
        what is kept is lost then. Who comes while another works waits: a span is written once."""
        async with self._working:
            decided = self._sampler.decide(all_of_them=all_of_them)
            self._queue.extend(decided.keep)
            try:
                known = await self._store.stored(list(decided.ordinary))
            except DatabaseUnavailable:
                known = set()
            for trace_id, arrivals in decided.ordinary.items():
                if trace_id in known:
                    self._sampler.kept(trace_id)
                    self._queue.extend(arrivals)
                else:
                    self._sampled_out.inc(len(arrivals))
                    self._release(arrivals)
            while self._queue:
                await self._write_batch()
            if self._monotonic() - self._pruned_at >= _PRUNE_SECONDS:
                await self.prune()

    async def prune(self) -> None:
        """Hold the store within its retention. Raises `DatabaseUnavailable`."""
        gone = await self._store.prune()
        if gone:
            log.info("old traces forgotten", spans=gone)
        spans, size = await self._store.size()
        self._store_spans.set(spans)
        self._store_bytes.set(size)
        self._pruned_at = self._monotonic()

    async def _write_batch(self) -> None:
        batch = [self._queue[n] for n in range(min(_BATCH, len(self._queue)))]
        malformed = await self._store.store(batch)
        self._stored.inc(len(batch) - malformed)
        self._dropped.labels("malformed").inc(malformed)
        for _ in batch:
            self._queue.popleft()
        self._release(batch)

    def _release(self, arrivals: list[Arrival]) -> None:
        self._spans -= len(arrivals)
        self._bytes -= sum(arrival.size for arrival in arrivals)
