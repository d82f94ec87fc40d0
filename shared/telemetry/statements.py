"""A span for each database statement of a recorded trace.

OpenTelemetry's instrumentation of SQLAlchemy would make a trace of every statement of a background task, such as the
outbox's poll; here what belongs to no recorded trace stays without a span.
"""

import re
import time
from functools import lru_cache
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import Span
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext

from shared.telemetry.otlp import Alike, SpanAlike
from shared.telemetry.tracing import record_error

_NAME = "holdfast.database"
_tracer = trace.get_tracer(_NAME)
_SCOPE = InstrumentationScope(_NAME)
_ids = RandomIdGenerator()
_LONGEST_TEXT = 400
_TARGET = re.compile(r'\b(?:FROM|INTO|UPDATE)\s+"?(\w+)', re.IGNORECASE)
_BEGUN = "_holdfast_begun"


def trace_statements(engine: Engine, name: str) -> None:
    """Have the statements of `engine` recorded. The database's `name` is a fixed word: `sqlite`, `postgresql`."""

    def begin(_connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool) -> None:
        parent = trace.get_current_span()
        if parent.is_recording():
            setattr(context, _BEGUN, (parent, time.time_ns()))

    def end(_connection: Any, _cursor: Any, statement: str, _values: Any, context: Any, _many: bool) -> None:
        begun = getattr(context, _BEGUN, None)
        if begun is not None:
            parent, started = begun
            _record(parent, started, _described(name, statement))

    def fail(context: ExceptionContext) -> None:
        parent, started = getattr(context.execution_context, _BEGUN, (None, 0))
        if parent is not None:
            statement = _described(name, context.statement or "")
            span = _tracer.start_span(
                statement.name,
                trace.set_span_in_context(parent),
                kind=statement.kind,
                attributes=statement.attributes,
                start_time=started,
            )
            # the text of a database's error quotes values
            record_error(span, context.original_exception, with_text=False)
            span.end()

    event.listen(engine, "before_cursor_execute", begin)
    event.listen(engine, "after_cursor_execute", end)
    event.listen(engine, "handle_error", fail)


def _record(parent: Span, started: int, statement: Alike) -> None:
    """A finished span below `parent`.

    It is made as what it is when it is over. An order makes some twenty, none has children, events or a decision of its
    own to be sampled; by way of `start_span` and `end` each would cost seven times as much.
    """
    above = parent.get_span_context()
    context = SpanContext(
        above.trace_id,
        _ids.generate_span_id(),
        is_remote=False,
        trace_flags=above.trace_flags,
        trace_state=above.trace_state,
    )
    span = SpanAlike(statement, context, parent, started, time.time_ns(), _SCOPE)
    parent._span_processor.on_end(span)  # noqa: SLF001 - what `end` of a span of the SDK does


@lru_cache(maxsize=512)
def _described(name: str, statement: str) -> Alike:
    # the text of a statement holds placeholders, never values
    verb = statement.split(None, 1)[0].upper() if statement.strip() else "STATEMENT"
    found = _TARGET.search(statement)
    attributes = {"db.system.name": name, "db.operation.name": verb, "db.query.text": statement[:_LONGEST_TEXT]}
    if found is None:
        return Alike.of(verb, SpanKind.CLIENT, attributes)
    return Alike.of(f"{verb} {found[1]}", SpanKind.CLIENT, {**attributes, "db.collection.name": found[1]})
