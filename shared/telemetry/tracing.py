"""Traces: W3C context in and out, spans to the OTLP receiver that `OTEL_EXPORTER_OTLP_ENDPOINT` names.

With a receiver every span is recorded, unless the caller has decided against it: which traces are worth keeping is
decided where all of a trace comes together (docs/adr/0008-sampling.md). `OTEL_TRACES_SAMPLER` and its argument say
otherwise. Without a receiver nothing is recorded, and every request still has a trace id.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import Span, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException

from shared.telemetry.export import SpanExport, destination
from shared.telemetry.redaction import redacted

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
QUEUE_SIZE = "OTEL_BSP_MAX_QUEUE_SIZE"
SAMPLER, SAMPLER_ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
_DEFAULT_QUEUE_SIZE = 8_192
_LONGEST_MESSAGE = 200
_SAMPLERS: Mapping[str, Sampler] = {
    "always_on": ALWAYS_ON,
    "always_off": ALWAYS_OFF,
    "parentbased_always_on": DEFAULT_ON,
    "parentbased_always_off": DEFAULT_OFF,
}
_SAMPLERS_OF_A_SHARE = {"traceidratio": TraceIdRatioBased, "parentbased_traceidratio": ParentBasedTraceIdRatio}


def configure_tracing(
    service: str, instance: str, version: str, *, metrics: CollectorRegistry | None = None, token: str = ""
) -> TracerProvider:
    """Install the tracer provider of this process; `shutdown()` of what is returned exports what waits.

    metrics: where the exporter counts; token: what it shows to the receiver. Raises ValueError for a wrong variable.
    """
    # no baggage: what callers put there would travel on into every service, and nobody here reads it
    propagate.set_global_textmap(TraceContextTextMapPropagator())
    resource = Resource.create({"service.name": service, "service.instance.id": instance, "service.version": version})
    endpoint = os.environ.get(ENDPOINT, "")
    sampler = chosen_sampler(os.environ)
    provider = TracerProvider(sampler=sampler if endpoint else ALWAYS_OFF, resource=resource, shutdown_on_exit=False)
    if endpoint:
        try:
            to = destination(endpoint, _headers(token))
        except ValueError as error:
            raise ValueError(f"{ENDPOINT}: {error}") from None
        export = SpanExport(to, resource, metrics or CollectorRegistry(), max_queue=_queue_size())
        provider.add_span_processor(export)
    trace.set_tracer_provider(provider)
    return provider


def chosen_sampler(environ: Mapping[str, str]) -> Sampler:
    """The sampler that the variables name, by default every span of whoever is not told otherwise by its caller.

    Raises ValueError where OpenTelemetry's SDK would warn and record everything.
    """
    name = environ.get(SAMPLER, "").lower() or "parentbased_always_on"
    if name in _SAMPLERS:
        return _SAMPLERS[name]
    if name not in _SAMPLERS_OF_A_SHARE:
        raise ValueError(f"{SAMPLER}: must be one of {', '.join((*_SAMPLERS, *_SAMPLERS_OF_A_SHARE))}")
    try:
        return _SAMPLERS_OF_A_SHARE[name](float(environ.get(SAMPLER_ARGUMENT) or 1.0))
    except ValueError:
        raise ValueError(f"{SAMPLER_ARGUMENT}: must be a share from 0 to 1") from None


@contextmanager
def operation(tracer: Tracer, name: str, *, parent: str | None = None) -> Iterator[Span]:
    """A span for a step of the work, current inside the block; `parent` is what `traceparent()` gave where it began.

    An exception that leaves the block is recorded, by its type and its text without secrets, and is the span's error;
    an answer below 500 that travels as an exception is an outcome, and no error.
    """
    context = propagate.extract({"traceparent": parent}) if parent else None
    span = tracer.start_span(name, context)
    token = contexts.attach(trace.set_span_in_context(span, context))
    try:
        yield span
    except Exception as error:
        if not (isinstance(error, HTTPException) and error.status_code < 500):
            record_error(span, error)
        raise
    finally:
        contexts.detach(token)
        span.end()


def traceparent() -> str | None:
    """The present trace context as text (W3C), to go on with later; None outside a trace."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")


def record_error(span: Span, error: BaseException, *, with_text: bool = True) -> None:
    """Write an exception down as the span's error. Without a stack trace: the log has it, under the same trace id."""
    if not span.is_recording():
        return
    kind = type(error).__qualname__
    attributes = {"exception.type": kind}
    if with_text:
        attributes["exception.message"] = str(redacted({"text": str(error)})["text"])[:_LONGEST_MESSAGE]
    span.add_event("exception", attributes)
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, kind))


def _queue_size() -> int:
    size = os.environ.get(QUEUE_SIZE, "")
    if size and (not size.isdecimal() or int(size) < 1):
        raise ValueError(f"{QUEUE_SIZE}: must be a number of spans")
    return int(size or _DEFAULT_QUEUE_SIZE)


def _headers(token: str) -> dict[str, str]:
    headers = {}
    for pair in os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(","):
        name, equals, value = pair.partition("=")
        if equals and name.strip():
            headers[name.strip().lower()] = unquote(value.strip())
    if token:
        headers["authorization"] = f"Bearer {token}"
    return headers
