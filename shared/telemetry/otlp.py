"""Finished spans as an OTLP request in its JSON encoding.

JSON, because orjson writes it faster than the protobuf package builds messages, and because the services then need
neither that package nor the HTTP client that OpenTelemetry's own exporter brings (docs/adr/0008-sampling.md).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import orjson
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind
from opentelemetry.util.types import AttributeValue

_KINDS = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
_INT64 = range(-(2**63), 2**63)
_ALIKE = (
    b'{"traceId":"%032x","spanId":"%016x","parentSpanId":"%016x","startTimeUnixNano":"%d","endTimeUnixNano":"%d",%b}'
)


class Alike(NamedTuple):
    """What many spans have in common, with its JSON."""

    name: str
    kind: SpanKind
    attributes: Mapping[str, str]
    members: bytes

    @classmethod
    def of(cls, name: str, kind: SpanKind, attributes: Mapping[str, str]) -> Self:
        """Write it down once for all of them."""
        members = {"name": name, "kind": _KINDS[kind], "attributes": _attributes(attributes)}
        return cls(name, kind, attributes, _json(members)[1:-1])


class SpanAlike(ReadableSpan):
    """A finished span that differs from its like in ids and times only: it has a parent, no events, links or status."""

    def __init__(
        self, alike: Alike, context: SpanContext, above: Span, start: int, end: int, scope: InstrumentationScope
    ) -> None:
        super().__init__(
            alike.name,
            context,
            above.get_span_context(),
            above.resource,
            alike.attributes,
            kind=alike.kind,
            start_time=start,
            end_time=end,
            instrumentation_scope=scope,
        )
        self._members = alike.members

    def written(self) -> orjson.Fragment:
        """Its JSON."""
        context, parent = self._context, self._parent
        assert context is not None and parent is not None  # noqa: S101, PT018
        ids = context.trace_id, context.span_id, parent.span_id
        return orjson.Fragment(_ALIKE % (*ids, self._start_time, self._end_time, self._members))


def encode(resource: Resource, spans: Iterable[ReadableSpan]) -> bytes:
    """An `ExportTraceServiceRequest`. What cannot be written in UTF-8 or in 64 bits becomes readable text."""
    scopes: dict[str, list[dict[str, Any] | orjson.Fragment]] = {}
    for span in spans:
        scope = span.instrumentation_scope
        written = span.written() if isinstance(span, SpanAlike) else _span(span)
        scopes.setdefault(scope.name if scope else "", []).append(written)
    request = {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource.attributes)},
                "scopeSpans": [{"scope": {"name": name}, "spans": listed} for name, listed in scopes.items()],
            }
        ]
    }
    return _json(request)


def _json(value: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # half of a surrogate pair, from a path or a header
        return orjson.dumps(_readable(value))


def _span(span: ReadableSpan) -> dict[str, Any]:
    context = span.get_span_context()
    assert context is not None  # noqa: S101 - a finished span has one
    written: dict[str, Any] = {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "name": span.name,
        "kind": _KINDS[span.kind],
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes),
    }
    if span.parent is not None:
        written["parentSpanId"] = f"{span.parent.span_id:016x}"
    if span.events:
        written["events"] = [
            {"timeUnixNano": str(event.timestamp), "name": event.name, "attributes": _attributes(event.attributes)}
            for event in span.events
        ]
    if span.links:
        written["links"] = [
            {"traceId": f"{link.context.trace_id:032x}", "spanId": f"{link.context.span_id:016x}"}
            for link in span.links
        ]
    if span.status.status_code.value:
        written["status"] = {"code": span.status.status_code.value, "message": span.status.description or ""}
    return written


def _attributes(attributes: Mapping[str, AttributeValue] | None) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()] if attributes else []


def _value(value: AttributeValue) -> dict[str, Any]:
    kind = type(value)
    if kind is str:
        return {"stringValue": value}
    if kind is bool:
        return {"boolValue": value}
    if kind is int:
        return {"intValue": str(value)} if value in _INT64 else {"stringValue": str(value)}
    if kind is float:
        return {"doubleValue": value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"stringValue": str(value)}


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_readable(name): _readable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_readable(inner) for inner in value]
    return value
