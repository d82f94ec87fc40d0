"""Trace context across the broker: W3C `traceparent` in the headers of a message."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind

from shared.telemetry import record_error

_tracer = trace.get_tracer("holdfast.messaging")


def carry(headers: Mapping[str, str]) -> dict[str, str]:
    """`headers` with the current trace context added, unless they carry one."""
    carried = dict(headers)
    if "traceparent" not in carried:
        propagate.inject(carried)
    return carried


@contextmanager
def handling(subject: str, headers: Mapping[str, str], deliveries: int) -> Iterator[None]:
    """A span for the handling of one delivery, a child of the span that sent the message."""
    attributes: dict[str, str | int] = {
        "messaging.system": "nats",
        "messaging.operation.type": "process",
        "messaging.destination.name": subject,
        "messaging.nats.deliveries": deliveries,
    }
    parent = propagate.extract(dict(headers))
    with _tracer.start_as_current_span(
        f"process {subject}",
        context=parent,
        kind=SpanKind.CONSUMER,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            record_error(span, error)
            raise
