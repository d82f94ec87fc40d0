"""Finding traces in the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.control_room import jaeger
from services.control_room.tables import operations, processes, spans
from shared.chassis.database import Database

_SPANS_OF_A_TRACE = 5_000
_PAGE = 1_000
_LOOKED_AT = 20_000
"""Spans that a search by tags looks into before it answers with what it has."""


FOREVER_US = 2**62


@dataclass(frozen=True, slots=True)
class Search:
    """What traces must have: one span with all of it. Times and durations in microseconds."""

    service: str
    operation: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    start_us: int = 0
    end_us: int = FOREVER_US
    min_duration_us: int = 0
    max_duration_us: int = FOREVER_US
    limit: int = 100


class Searches:
    """Reads the trace store. Every method raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def services(self) -> list[str]:
        """The services that have traces."""
        async with self._database.read() as connection:
            query = sa.select(operations.c.service).distinct().order_by(operations.c.service)
            return list((await connection.execute(query)).scalars())

    async def operations(self, service: str, kind: str = "") -> list[dict[str, str]]:
        """The operations of a service, `[{"name", "spanKind"}]`."""
        query = sa.select(operations.c.operation, operations.c.kind).where(operations.c.service == service)
        if kind:
            query = query.where(operations.c.kind == kind)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(operations.c.operation, operations.c.kind))
            return [{"name": name, "spanKind": kind} for name, kind in rows]

    async def traces(self, trace_ids: Sequence[str]) -> list[dict[str, Any]]:
        """These traces in Jaeger's shape, in this order; what is not there is left out."""
        async with self._database.read() as connection:
            found = [await _trace(connection, trace_id) for trace_id in trace_ids]
        return [trace for trace in found if trace is not None]

    async def find(self, search: Search) -> list[dict[str, Any]]:
        """The newest traces that match."""
        async with self._database.read() as connection:
            if search.tags:
                ids = await _ids_by_tags(connection, search)
            else:
                newest = sa.func.max(spans.c.start_us)
                query = sa.select(spans.c.trace_id).where(*_conditions(search)).group_by(spans.c.trace_id)
                ids = list((await connection.execute(query.order_by(newest.desc()).limit(search.limit))).scalars())
        return await self.traces(ids)

    async def dependencies(self, start_us: int, end_us: int) -> list[dict[str, Any]]:
        """Who called whom how often, in spans that began in that time."""
        child, parent = spans.alias("child"), spans.alias("parent")
        query = (
            sa.select(parent.c.service, child.c.service, sa.func.count())
            .join(parent, (parent.c.trace_id == child.c.trace_id) & (parent.c.span_id == child.c.parent_id))
            .where(child.c.start_us.between(start_us, end_us), parent.c.service != child.c.service)
            .group_by(parent.c.service, child.c.service)
            .order_by(parent.c.service, child.c.service)
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            return [{"parent": caller, "child": called, "callCount": count} for caller, called, count in rows]


def _conditions(search: Search) -> list[sa.ColumnElement[bool]]:
    conditions = [
        spans.c.service == search.service,
        spans.c.start_us.between(search.start_us, search.end_us),
        spans.c.duration_us.between(search.min_duration_us, search.max_duration_us),
    ]
    if search.operation:
        conditions.append(spans.c.operation == search.operation)
    return conditions


async def _ids_by_tags(connection: AsyncConnection, search: Search) -> list[str]:
    columns = (spans.c.trace_id, spans.c.process, spans.c.body)
    query = sa.select(*columns).where(*_conditions(search)).order_by(spans.c.start_us.desc(), spans.c.span_id)
    ids: dict[str, None] = {}
    known: dict[str, Any] = {}
    for offset in range(0, _LOOKED_AT, _PAGE):
        rows = (await connection.execute(query.limit(_PAGE).offset(offset))).all()
        known |= await _processes(connection, {row.process for row in rows} - known.keys())
        for row in rows:
            if row.trace_id not in ids and jaeger.has_tags(
                search.tags, orjson.loads(row.body), known.get(row.process, {})
            ):
                ids[row.trace_id] = None
                if len(ids) >= search.limit:
                    return list(ids)
        if len(rows) < _PAGE:
            break
    return list(ids)


async def _trace(connection: AsyncConnection, trace_id: str) -> dict[str, Any] | None:
    query = sa.select(spans.c.process, spans.c.body).where(spans.c.trace_id == trace_id)
    rows = (await connection.execute(query.order_by(spans.c.start_us).limit(_SPANS_OF_A_TRACE))).all()
    if not rows:
        return None
    known = await _processes(connection, {row.process for row in rows})
    return jaeger.trace(trace_id, ((row.process, orjson.loads(row.body)) for row in rows), known)


async def _processes(connection: AsyncConnection, keys: set[str]) -> dict[str, Any]:
    if not keys:
        return {}
    rows = await connection.execute(sa.select(processes.c.id, processes.c.body).where(processes.c.id.in_(keys)))
    return {key: orjson.loads(body) for key, body in rows}
