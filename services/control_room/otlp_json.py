"""OTLP's JSON encoding: hexadecimal ids, 64-bit numbers as strings.

See https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import orjson

from services.control_room.arrivals import (
    FAILED,
    KINDS,
    MAX_ATTRIBUTES,
    MAX_EVENTS,
    MAX_LINKS,
    MAX_NAME,
    Arrival,
    Attributes,
    Event,
    Process,
    SpanData,
    shortened,
)

_DEEPEST = 4


def read_request(body: bytes) -> Iterator[Arrival | None]:
    """The spans of an `ExportTraceServiceRequest`; None for each that is malformed. Raises ValueError."""
    request = orjson.loads(body)
    for group in _list(request, "resourceSpans"):
        tags = _attributes(_dict(group, "resource").get("attributes", []))
        service = next((str(value) for name, value in tags if name == "service.name"), "unknown_service")
        process = Process(service[:128] or "unknown_service", tags)
        for scoped in _list(group, "scopeSpans"):
            scope = str(_dict(scoped, "scope").get("name", ""))[:MAX_NAME]
            for span in _list(scoped, "spans"):
                yield _arrival(span, process, scope)


def _arrival(span: Any, process: Process, scope: str) -> Arrival | None:
    try:
        trace_id, span_id = _identifier(span["traceId"], 16), _identifier(span["spanId"], 8)
        start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
        code = _dict(span, "status").get("code", 0)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if not 0 <= start <= end < 2**63:
        return None
    failed = code in (FAILED, "STATUS_CODE_ERROR")
    start_us = start // 1000
    return Arrival(
        trace_id, span_id, start_us, end // 1000 - start_us, failed, process, scope, 0, partial(_read, span, failed)
    )


def _read(span: dict[str, Any], failed: bool) -> SpanData:
    try:
        parent = span.get("parentSpanId") or ""
        return SpanData(
            parent_id=_identifier(parent, 8) if parent else "",
            name=str(span.get("name", ""))[:MAX_NAME],
            kind=_kind(span.get("kind", 0)),
            attributes=_attributes(span.get("attributes", [])),
            events=[
                Event(
                    int(event.get("timeUnixNano", 0)) // 1000,
                    str(event.get("name", ""))[:MAX_NAME],
                    _attributes(event.get("attributes", [])),
                )
                for event in span.get("events", [])[:MAX_EVENTS]
            ],
            links=[
                (_identifier(link["traceId"], 16), _identifier(link["spanId"], 8))
                for link in span.get("links", [])[:MAX_LINKS]
            ],
            failed=failed,
            status_message=str(_dict(span, "status").get("message", ""))[:MAX_NAME],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"malformed span: {error}") from None


def _identifier(text: Any, size: int) -> str:
    if not isinstance(text, str) or len(text) != 2 * size:
        raise ValueError("an id has another length")
    raw = bytes.fromhex(text)
    if len(raw) != size or not any(raw):
        raise ValueError("an id is empty")
    return raw.hex()


def _kind(kind: Any) -> str:
    if isinstance(kind, str):
        kind = kind.removeprefix("SPAN_KIND_").lower()
        return kind if kind in KINDS else KINDS[0]
    return KINDS[kind] if isinstance(kind, int) and 0 <= kind < len(KINDS) else KINDS[0]


def _attributes(listed: Any) -> Attributes:
    if not isinstance(listed, list):
        raise ValueError("attributes are a list")  # noqa: TRY004 - for the sender the value is wrong
    return [(str(pair["key"])[:MAX_NAME], shortened(_value(pair.get("value")))) for pair in listed[:MAX_ATTRIBUTES]]


def _value(value: Any, depth: int = 0) -> Any:
    if not isinstance(value, dict) or not value or depth > _DEEPEST:
        return ""
    kind, inner = next(iter(value.items()))
    match kind:
        case "stringValue" | "bytesValue":
            return str(inner)
        case "intValue":
            return int(inner)
        case "boolValue" if isinstance(inner, bool):
            return inner
        case "doubleValue":
            return float(inner)
        case "arrayValue":
            return [_value(each, depth + 1) for each in _list(inner, "values")[:MAX_ATTRIBUTES]]
        case "kvlistValue":
            pairs = _list(inner, "values")[:MAX_ATTRIBUTES]
            return {str(pair["key"]): _value(pair.get("value"), depth + 1) for pair in pairs}
    raise ValueError("a value of an unknown kind")


def _list(parent: Any, name: str) -> list[Any]:
    found = parent.get(name, []) if isinstance(parent, dict) else None
    if not isinstance(found, list):
        raise ValueError(f"{name} is no list")  # noqa: TRY004
    return found


def _dict(parent: Any, name: str) -> dict[str, Any]:
    found = parent.get(name, {}) if isinstance(parent, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"{name} is no object")  # noqa: TRY004
    return found
