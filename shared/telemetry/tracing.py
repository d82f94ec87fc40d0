"""Traces: W3C context in and out, sampled as `OTEL_TRACES_SAMPLER` says (10 % of new traces by default)."""

import os

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

_DEFAULT_SAMPLER = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}


def configure_tracing(service: str, instance: str, version: str) -> None:
    """Install the tracer provider of this process. Every request has a trace id, sampled or not."""
    for variable, value in _DEFAULT_SAMPLER.items():
        os.environ.setdefault(variable, value)
    resource = Resource.create({"service.name": service, "service.instance.id": instance, "service.version": version})
    trace.set_tracer_provider(TracerProvider(resource=resource, shutdown_on_exit=False))
