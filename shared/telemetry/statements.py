"""A span for each database statement of a recorded trace.

OpenTelemetry's instrumentation of SQLAlchemy would make a trace of every statement of a background task, such as the
outbox's poll; here what belongs to no recorded trace stays without a span.
"""

import re
from functools import lru_cache
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from shared.telemetry.tracing import record_error

_tracer = trace.get_tracer("holdfast.database")
_LONGEST_TEXT = 400
_TARGET = re.compile(r'\b(?:FROM|INTO|UPDATE)\s+"?(\w+)', re.IGNORECASE)
_SPAN = "_holdfast_span"


def trace_statements(engine: Engine, name: str) -> None:
    """Have the statements of `engine` recorded. The database's `name` is a fixed word: `sqlite`, `postgresql`."""

    def begin(_connection: Any, _cursor: Any, statement: str, _values: Any, context: Any, _many: bool) -> None:
        if not trace.get_current_span().is_recording():
            return
        title, attributes = _described(name, statement)
        setattr(context, _SPAN, _tracer.start_span(title, kind=SpanKind.CLIENT, attributes=attributes))

    def end(_connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool) -> None:
        span = getattr(context, _SPAN, None)
        if span is not None:
            span.end()

    def fail(context: ExceptionContext) -> None:
        span = getattr(context.execution_context, _SPAN, None)
        if span is not None:
            # the text of a database's error quotes values
            record_error(span, context.original_exception, with_text=False)
            span.end()

    event.listen(engine, "before_cursor_execute", begin)
    event.listen(engine, "after_cursor_execute", end)
    event.listen(engine, "handle_error", fail)


@lru_cache(maxsize=512)
def _described(name: str, statement: str) -> tuple[str, dict[str, str]]:
    # the text of a statement holds placeholders, never values
    verb = statement.split(None, 1)[0].upper() if statement.strip() else "STATEMENT"
    found = _TARGET.search(statement)
    attributes = {"db.system.name": name, "db.operation.name": verb, "db.query.text": statement[:_LONGEST_TEXT]}
    if found is None:
        return verb, attributes
    return f"{verb} {found[1]}", {**attributes, "db.collection.name": found[1]}
