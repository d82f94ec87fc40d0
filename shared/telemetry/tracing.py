"""Traces: W3C context in and out, sampled as `OTEL_TRACES_SAMPLER` says (10 % of new traces by default)."""

import os

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

_SAMPLED = 0.1


def configure_tracing(service: str, instance: str, version: str) -> None:
    """Install the tracer provider of this process. Every request has a trace id, sampled or not."""
    resource = Resource.create({"service.name": service, "service.instance.id": instance, "service.version": version})
    # without a sampler of ours the SDK reads the variable
    sampler = None if "OTEL_TRACES_SAMPLER" in os.environ else ParentBasedTraceIdRatio(_SAMPLED)
    trace.set_tracer_provider(TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False))
