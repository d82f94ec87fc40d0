"""Traces in the JSON of Jaeger's query API, so that Jaeger's page and everything made for it can read them."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from services.control_room.arrivals import Arrival, Attributes, SpanData

_TYPES = {str: "string", bool: "bool", int: "int64", float: "float64"}


def span(arrival: Arrival, data: SpanData) -> dict[str, Any]:
    """A span without its `processID`, which depends on the trace that it is shown in."""
    references = [_reference("CHILD_OF", arrival.trace_id, data.parent_id)] if data.parent_id else []
    references += [_reference("FOLLOWS_FROM", *link) for link in data.links]
    told: Attributes = [*data.attributes, ("span.kind", data.kind), ("otel.scope.name", arrival.scope)]
    if data.failed:
        told += [("error", True), ("otel.status_code", "ERROR")]
        if data.status_message:
            told.append(("otel.status_description", data.status_message))
    return {
        "traceID": arrival.trace_id,
        "spanID": arrival.span_id,
        "flags": 1,
        "operationName": data.name,
        "references": references,
        "startTime": arrival.start_us,
        "duration": arrival.duration_us,
        "tags": tags(told),
        "logs": [
            {"timestamp": event.time_us, "fields": tags([("event", event.name), *event.attributes])}
            for event in data.events
        ],
        "warnings": None,
    }


def tags(attributes: Attributes) -> list[dict[str, Any]]:
    """Attributes as Jaeger's tags; lists and maps become their JSON."""
    return [_tag(name, value) for name, value in attributes]


def trace(trace_id: str, spans: Iterable[tuple[str, dict[str, Any]]], processes: Mapping[str, Any]) -> dict[str, Any]:
    """A trace of spans, each with the key of its process."""
    names: dict[str, str] = {}
    shown = []
    for process, body in spans:
        body["processID"] = names.setdefault(process, f"p{len(names) + 1}")
        shown.append(body)
    unknown = {"serviceName": "unknown_service", "tags": []}
    return {
        "traceID": trace_id,
        "spans": shown,
        "processes": {name: processes.get(process, unknown) for process, name in names.items()},
        "warnings": None,
    }


def answer(data: Any, *, total: int | None = None, limit: int = 0) -> dict[str, Any]:
    """The envelope of every answer."""
    count = total if total is not None else len(data)
    return {"data": data, "total": count, "limit": limit, "offset": 0, "errors": None}


def refusal(status: int, message: str) -> dict[str, Any]:
    """The envelope of an error."""
    return {"data": None, "total": 0, "limit": 0, "offset": 0, "errors": [{"code": status, "msg": message}]}


def has_tags(wanted: Mapping[str, str], body: Mapping[str, Any], process: Mapping[str, Any]) -> bool:
    """Whether the span, its events or its process have all those tags; values are compared as text."""
    listed = [*body["tags"], *process.get("tags", ())]
    for log in body["logs"]:
        listed += log["fields"]
    present = {(tag["key"], _text(tag["value"])) for tag in listed}
    return all(pair in present for pair in wanted.items())


def _reference(kind: str, trace_id: str, span_id: str) -> dict[str, str]:
    return {"refType": kind, "traceID": trace_id, "spanID": span_id}


def _tag(name: str, value: Any) -> dict[str, Any]:
    kind = _TYPES.get(type(value))
    if kind is None:
        kind, value = "string", orjson.dumps(value, default=str).decode()
    return {"key": name, "type": kind, "value": value}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
