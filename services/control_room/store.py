"""The trace store: batches of spans in, traces out, never more of them than the retention allows."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from services.control_room import jaeger
from services.control_room.arrivals import Arrival, Process
from services.control_room.tables import operations, processes, spans, traces
from shared.chassis.clock import Clock, milliseconds
from shared.chassis.database import Database
from shared.chassis.padding import padded

_ASKED_AT_ONCE = _PRUNED_AT_ONCE = 512
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Retention:
    """What may be kept: age in hours, number of spans, and bytes of their text."""

    hours: float
    spans: int
    bytes: int


@dataclass(slots=True)
class _Rows:
    spans: list[dict[str, Any]] = field(default_factory=list)
    traces: dict[str, dict[str, Any]] = field(default_factory=dict)
    processes: dict[str, dict[str, Any]] = field(default_factory=dict)
    operations: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)


class TraceStore:
    """Stores and forgets."""

    def __init__(self, database: Database, clock: Clock, retention: Retention) -> None:
        self._database, self._clock, self._retention = database, clock, retention
        insert: Any = sqlite.insert if database.is_sqlite else postgresql.insert
        self._add_span = insert(spans).on_conflict_do_nothing()
        add = insert(traces)
        self._add_trace = add.on_conflict_do_update(
            index_elements=["id"],
            set_={
                "stored_ms": add.excluded.stored_ms,
                "spans": traces.c.spans + add.excluded.spans,
                "bytes": traces.c.bytes + add.excluded.bytes,
            },
        )
        add = insert(processes)
        self._add_process = add.on_conflict_do_update(index_elements=["id"], set_={"seen_ms": add.excluded.seen_ms})
        add = insert(operations)
        self._add_operation = add.on_conflict_do_update(
            index_elements=["service", "operation", "kind"], set_={"seen_ms": add.excluded.seen_ms}
        )

    async def store(self, arrivals: list[Arrival]) -> int:
        """Store spans in one transaction; a span that is there already stays as it is. Returns how many could not be
        read. Raises `DatabaseUnavailable`."""
        rows, malformed = self._rows(arrivals)
        if rows.spans:
            steps = [
                (self._add_trace, list(rows.traces.values())),
                (self._add_process, list(rows.processes.values())),
                (self._add_operation, list(rows.operations.values())),
                (self._add_span, rows.spans),
            ]

            def write(connection: sa.Connection) -> None:
                for statement, values in steps:
                    connection.execute(statement, values)

            await self._database.transact(write)
        return malformed

    async def stored(self, trace_ids: list[str]) -> set[str]:
        """Which of these traces are there. Raises `DatabaseUnavailable`."""
        if not trace_ids:
            return set()
        found: set[str] = set()
        async with self._database.read() as connection:
            for first in range(0, len(trace_ids), _ASKED_AT_ONCE):
                asked = padded(trace_ids[first : first + _ASKED_AT_ONCE])
                answer = await connection.execute(sa.select(traces.c.id).where(traces.c.id.in_(asked)))
                found.update(answer.scalars())
        return found

    async def prune(self) -> int:
        """Forget the oldest traces until the rest is allowed; returns how many spans went. Raises
        `DatabaseUnavailable`."""
        gone = 0
        while removed := await self._database.transact(self._prune_some):
            gone += removed
        return gone

    async def size(self) -> tuple[int, int]:
        """Spans and bytes that are stored."""
        async with self._database.read() as connection:
            row = (await connection.execute(_SIZE)).one()
        return int(row[0]), int(row[1])

    def _prune_some(self, connection: sa.Connection) -> int:
        oldest_allowed = milliseconds(self._clock) - int(self._retention.hours * _HOUR_MS)
        count, size = connection.execute(_SIZE).one()
        doomed, removed = [], 0
        for row in connection.execute(_OLDEST):
            within = count - removed <= self._retention.spans and size <= self._retention.bytes
            if within and row.stored_ms >= oldest_allowed:
                break
            doomed.append(row.id)
            removed += row.spans
            size -= row.bytes
        if not doomed:
            return 0
        listed = padded(doomed)
        connection.execute(sa.delete(spans).where(spans.c.trace_id.in_(listed)))
        connection.execute(sa.delete(traces).where(traces.c.id.in_(listed)))
        for table in (processes, operations):
            connection.execute(sa.delete(table).where(table.c.seen_ms < oldest_allowed))
        return removed

    def _rows(self, arrivals: list[Arrival]) -> tuple[_Rows, int]:
        rows, malformed, now = _Rows(), 0, milliseconds(self._clock)
        known: dict[int, str] = {}
        sizes: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for arrival in arrivals:
            try:
                data = arrival.read()
                body = orjson.dumps(jaeger.span(arrival, data))
            except (ValueError, TypeError):  # a number beyond 64 bits, half of a surrogate pair
                malformed += 1
                continue
            process = known.get(id(arrival.process))
            if process is None:
                process = known[id(arrival.process)] = _add_process(rows, arrival.process, now)
            service = arrival.process.service
            rows.spans.append(
                {
                    "trace_id": arrival.trace_id,
                    "span_id": arrival.span_id,
                    "parent_id": data.parent_id,
                    "service": service,
                    "operation": data.name,
                    "start_us": arrival.start_us,
                    "duration_us": arrival.duration_us,
                    "process": process,
                    "body": body,
                }
            )
            rows.operations.setdefault(
                (service, data.name, data.kind),
                {"service": service, "operation": data.name, "kind": data.kind, "seen_ms": now},
            )
            sizes[arrival.trace_id] += len(body)
            counts[arrival.trace_id] += 1
        for trace_id, size in sizes.items():
            rows.traces[trace_id] = {"id": trace_id, "stored_ms": now, "spans": counts[trace_id], "bytes": size}
        return rows, malformed


def _add_process(rows: _Rows, process: Process, now: int) -> str:
    body = orjson.dumps({"serviceName": process.service, "tags": jaeger.tags(process.tags)})
    key = hashlib.sha256(body).hexdigest()[:32]
    rows.processes[key] = {"id": key, "body": body, "seen_ms": now}
    return key


_SIZE = sa.select(sa.func.coalesce(sa.func.sum(traces.c.spans), 0), sa.func.coalesce(sa.func.sum(traces.c.bytes), 0))
_OLDEST = (
    sa.select(traces.c.id, traces.c.stored_ms, traces.c.spans, traces.c.bytes)
    .order_by(traces.c.stored_ms)
    .limit(_PRUNED_AT_ONCE)
)
