"""Structured logs: JSON lines on standard output, with trace and order ids, without secrets or card numbers."""

import json
import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog
from opentelemetry import trace

from shared.telemetry.output import LineLogger, LineOutput
from shared.telemetry.redaction import redacted

_NOISY = ("uvicorn.access", "httpx", "httpcore", "alembic.runtime.migration", "aiosqlite", "asyncio")
_OURS = ("timestamp", "level", "service", "instance", "trace_id")
"""Fields that hold nothing of a caller's, and whose digits may look like a card's."""


def configure_logs(service: str, instance: str, level: str = "info") -> None:
    """Send every log record of this process, the libraries' too, to standard output as JSON lines."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    output = LineOutput(_descriptor())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _identify(service, instance),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, _render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: LineLogger(output),
        cache_logger_on_first_use=True,
    )
    handler = _Handler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda *record: _render(*record).decode(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=threshold, force=True)
    logging.captureWarnings(capture=True)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(max(threshold, logging.WARNING))


def _descriptor() -> int:
    try:
        return sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):  # closed, or replaced by something that is no file
        return os.open(os.devnull, os.O_WRONLY)


class _Handler(logging.Handler):
    """Takes the records of libraries that log with `logging`."""

    def __init__(self, output: LineOutput) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; one that cannot be formatted is reported by `logging` itself."""
        try:
            self._output.write(self.format(record).encode())
        except Exception:  # noqa: BLE001 - a record must not break what it reports about
            self.handleError(record)


def _identify(service: str, instance: str) -> structlog.typing.Processor:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"], event["instance"] = service, instance
        identifier = trace.get_current_span().get_span_context().trace_id
        if identifier:
            event["trace_id"] = f"{identifier:032x}"
        return event

    return add


def _render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> bytes:
    event.pop("color_message", None)  # uvicorn says everything twice
    clean = {name: event.pop(name) for name in _OURS if name in event}
    clean |= redacted(event)
    try:
        return orjson.dumps(clean, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # half of a surrogate pair, or a number beyond 64 bits
        return json.dumps({str(name): value for name, value in clean.items()}, default=str).encode("ascii")
