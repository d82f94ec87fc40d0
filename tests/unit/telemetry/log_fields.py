"""Which fields the services' code logs, read from the code, and which docs/logs.md describes."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
_LOGGING = ("remark", "_remark")
_LOGGERS = ("log", "_log", "logger")
_LEVELS = ("debug", "info", "warning", "error", "exception", "critical", "log")
_NO_FIELDS = ("exc_info", "extra", "level")
# from the configuration of the logs, from the lines of requests, and from the output that had to drop lines
_OF_EVERY_LINE = frozenset(("timestamp", "level", "service", "instance", "event", "trace_id", "logger", "exception"))
_OF_REQUESTS = frozenset(("remarks", "left_out"))
_OF_DROPPED_LINES = frozenset(("number",))


def logged() -> set[str]:
    """Every field that can be in a line of a service."""
    found = set(_OF_EVERY_LINE | _OF_REQUESTS | _OF_DROPPED_LINES)
    for folder in ("shared", "services"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _logs(node.func):
                    found.update(_fields(node))
    return found


def documented() -> set[str]:
    """The first column of every table of docs/logs.md."""
    text = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def _logs(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in _LOGGING
    if not isinstance(function, ast.Attribute):
        return False
    if function.attr in ("bind_contextvars", "bound_contextvars"):
        return True
    owner = function.value.id if isinstance(function.value, ast.Name) else ""
    return (owner in _LOGGERS and function.attr in _LEVELS) or (
        owner in ("line", "exchange") and function.attr == "write"
    )


def _fields(call: ast.Call) -> Iterator[str]:
    for keyword in call.keywords:
        if keyword.arg is None:  # whose fields nobody can read; wrappers hand theirs on under that name
            assert ast.unparse(keyword.value) == "fields", ast.unparse(call)
        if keyword.arg and keyword.arg not in _NO_FIELDS:
            yield keyword.arg
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
            for key in keyword.value.keys:
                assert isinstance(key, ast.Constant)
                yield str(key.value)
