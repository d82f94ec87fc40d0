"""The library's events as events of the current span, so that a trace shows why a call took three attempts.

registry.subscribe(add_span_event, *NOTEWORTHY)
"""

from dataclasses import fields
from typing import Final

from opentelemetry import trace

from shared.resilience.events import (
    AttemptTimedOut,
    BulkheadRefused,
    CallRefused,
    Event,
    FallbackAnswered,
    FallbackFailed,
    FaultStruck,
    HedgeRefused,
    HedgeStarted,
    HedgeWon,
    RateExceeded,
    RateLimitRefused,
    RetryRefused,
    RetryScheduled,
    RetrySucceeded,
    StaleAnswered,
    StateTransition,
)

# Everything but the outcomes of single calls, which have spans of their own.
NOTEWORTHY: Final[tuple[type[Event], ...]] = (
    AttemptTimedOut,
    BulkheadRefused,
    CallRefused,
    FallbackAnswered,
    FallbackFailed,
    FaultStruck,
    HedgeRefused,
    HedgeStarted,
    HedgeWon,
    RateExceeded,
    RateLimitRefused,
    RetryRefused,
    RetryScheduled,
    RetrySucceeded,
    StaleAnswered,
    StateTransition,
)


def add_span_event(event: Event) -> None:
    """Add `event` to the span of the present context, if it is recorded. Errors appear by their type only."""
    span = trace.get_current_span()
    if not span.is_recording():
        return
    attributes: dict[str, str | int | float | bool] = {}
    for field in fields(event):
        value = getattr(event, field.name)
        if isinstance(value, Exception):
            # An error's text may carry what does not belong into a trace.
            attributes[f"resilience.{field.name}"] = type(value).__name__
        elif isinstance(value, str | int | float) and field.name != "at":
            attributes[f"resilience.{field.name}"] = value
    span.add_event(f"resilience.{type(event).__name__}", attributes)
