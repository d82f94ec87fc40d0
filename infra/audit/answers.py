"""The answers that clients got: one JSON object a line, as `infra.load` writes them.

    {"idempotency_key": "load-17", "status": 201, "id": "ord_01h..."}

Further members are ignored; `id` is null where the answer named no order.
"""

import json
from pathlib import Path
from typing import Any

from infra.audit.records import Answer

PROMISES = frozenset((201, 202))
"""Statuses that promise an order."""


class BadAnswers(Exception):
    """The file cannot be understood; the message has the file and the line."""


def read_answers(path: Path) -> list[Answer]:
    """Every answer in the file. Raises `BadAnswers`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadAnswers(f"{path}: {error}") from None
    return [_answer(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _answer(path: Path, number: int, line: str) -> Answer:
    try:
        told: Any = json.loads(line)
    except ValueError as error:
        raise BadAnswers(f"{path}:{number}: not JSON: {error}") from None
    if not isinstance(told, dict):
        raise BadAnswers(f"{path}:{number}: not an object")
    key, status, order_id = told.get("idempotency_key"), told.get("status"), told.get("id")
    if not isinstance(key, str):
        raise BadAnswers(f"{path}:{number}: idempotency_key: a string is needed")
    if not isinstance(status, int):
        raise BadAnswers(f"{path}:{number}: status: a whole number is needed")
    if not isinstance(order_id, str | None):
        raise BadAnswers(f"{path}:{number}: id: a string or null is needed")
    return Answer(number, key, status, order_id)
