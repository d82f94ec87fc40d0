"""Logs and traces, set up the same way in every process."""

from shared.telemetry.logs import configure_logs
from shared.telemetry.remarks import remark
from shared.telemetry.tracing import configure_tracing, operation, record_error, traceparent

__all__ = ["configure_logs", "configure_tracing", "operation", "record_error", "remark", "traceparent"]
