"""Structured logs: JSON lines on standard output, with trace and order ids, without secrets or card numbers."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog
from opentelemetry import trace

_SECRET_FIELDS = frozenset(
    ("authorization", "token", "password", "secret", "key", "number", "card", "card_number", "sealed_card", "cookie")
)
_CARD_NUMBER = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
_MASK = "[removed]"


def configure_logs(service: str, instance: str, level: str = "info") -> None:
    """Send every log record of this process, the libraries' too, to standard output as JSON lines."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _identify(service, instance),
        structlog.processors.format_exc_info,
        _redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_serialise)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=lambda event, **_: _serialise(event).decode()),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=threshold, force=True)
    for noisy in ("uvicorn.access", "httpx", "alembic.runtime.migration", "aiosqlite"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _identify(service: str, instance: str) -> structlog.typing.Processor:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"], event["instance"] = service, instance
        identifier = trace.get_current_span().get_span_context().trace_id
        if identifier:
            event["trace_id"] = f"{identifier:032x}"
        return event

    return add


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for field, value in event.items():
        if field in _SECRET_FIELDS:
            event[field] = _MASK
        elif isinstance(value, str) and len(value) >= 13:
            event[field] = _CARD_NUMBER.sub(_MASK, value)
    return event


def _serialise(event: Any, **_options: Any) -> bytes:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)
