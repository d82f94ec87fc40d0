"""OTLP's protobuf encoding."""

import base64
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

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
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise ValueError(str(error)) from None
    for group in request.resource_spans:
        tags = _attributes(group.resource.attributes)
        service = next((str(value) for name, value in tags if name == "service.name"), "unknown_service")
        process = Process(service[:128] or "unknown_service", tags)
        for scoped in group.scope_spans:
            scope = scoped.scope.name[:MAX_NAME]
            for span in scoped.spans:
                yield _arrival(span, process, scope)


def _arrival(span: Any, process: Process, scope: str) -> Arrival | None:
    trace_id, span_id, start, end = span.trace_id, span.span_id, span.start_time_unix_nano, span.end_time_unix_nano
    if len(trace_id) != 16 or len(span_id) != 8 or not any(trace_id) or not any(span_id):
        return None
    if not start <= end < 2**63:
        return None
    start_us, failed = start // 1000, span.status.code == FAILED
    duration_us = end // 1000 - start_us
    return Arrival(
        trace_id.hex(), span_id.hex(), start_us, duration_us, failed, process, scope, 0, partial(_read, span, failed)
    )


def _read(span: Any, failed: bool) -> SpanData:
    return SpanData(
        parent_id=span.parent_span_id.hex() if len(span.parent_span_id) == 8 else "",
        name=span.name[:MAX_NAME],
        kind=KINDS[span.kind] if 0 <= span.kind < len(KINDS) else KINDS[0],
        attributes=_attributes(span.attributes),
        events=[
            Event(event.time_unix_nano // 1000, event.name[:MAX_NAME], _attributes(event.attributes))
            for event in span.events[:MAX_EVENTS]
        ],
        links=[
            (link.trace_id.hex(), link.span_id.hex())
            for link in span.links[:MAX_LINKS]
            if len(link.trace_id) == 16 and len(link.span_id) == 8
        ],
        failed=failed,
        status_message=span.status.message[:MAX_NAME],
    )


def _attributes(listed: Any) -> Attributes:
    return [(pair.key[:MAX_NAME], shortened(_value(pair.value))) for pair in listed[:MAX_ATTRIBUTES]]


def _value(value: Any, depth: int = 0) -> Any:
    kind = value.WhichOneof("value")
    if kind is None or depth > _DEEPEST:
        return ""
    inner = getattr(value, kind)
    match kind:
        case "bytes_value":
            return base64.b64encode(inner).decode()
        case "array_value":
            return [_value(each, depth + 1) for each in _first(inner.values)]
        case "kvlist_value":
            return {pair.key: _value(pair.value, depth + 1) for pair in _first(inner.values)}
        case "string_value" | "bool_value" | "int_value" | "double_value":
            return inner
    return ""


def _first(values: Any) -> Iterable[Any]:
    return values[:MAX_ATTRIBUTES]  # type: ignore[no-any-return]
