"""The record of everything that was decided, done, verified and undone: append-only, on disk before it is acted on.

One JSON object a line. Each line holds its record as far as it has come, so the last line with an id is the record.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from ml.remediation.policy import Kind, Mode

log = structlog.get_logger()

TAIL_BYTES = 4 * 2**20
"""How far back the file is read at the start."""

Stage = Literal["decided", "asked", "begun", "finished", "verified", "closed"]


class AuditUnavailable(Exception):
    """The record cannot be written, or another process writes it: nothing may be done."""


class Planned(BaseModel):
    """An action as it was decided."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    service: str
    before: int
    to: int
    seconds: float = 0.0


class Record(BaseModel):
    """One alarm's decision and what came of it.

    at:           when this line was written; `began`: when the action had been decided
    cause:        why: the predictor's words, or who approved
    outcome:      `done`, or a failure (`conflict`, `timeout`, ...), `interrupted`; `shadow`, `control`; of a question
                  `denied`, `expired`, `refused by now`
    verification: `helped`, `not helped`, `unknown`
    rollback:     `done`, `not needed`, `impossible`, or why it failed
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    at: datetime
    began: datetime
    stage: Stage
    service: str
    alarm: str
    mode: Mode
    control: bool
    actuator: str
    cause: str
    prediction: Mapping[str, Any] | None
    decision: str
    reason: str
    action: Planned | None = None
    approved_by: str = ""
    outcome: str = ""
    detail: str = ""
    verification: str = ""
    verified: str = ""
    rollback: str = ""
    rolled_back: str = ""


class Audit:
    """The file, held by one process at a time.

    Raises:
        AuditUnavailable: from the constructor and `write`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AuditUnavailable(f"{path}: {error.strerror}") from error
        self._file: BinaryIO = os.fdopen(descriptor, "a+b", buffering=0)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._end_torn_line()
        except BlockingIOError as error:
            self._file.close()
            raise AuditUnavailable(f"{path}: another process acts and writes here") from error
        except OSError as error:
            self._file.close()
            raise AuditUnavailable(f"{path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, record: Record) -> None:
        """Append one line and have it on disk. Blocks."""
        line = json.dumps(record.model_dump(mode="json"), separators=(",", ":")).encode() + b"\n"
        try:
            written = self._file.write(line)
            os.fsync(self._file.fileno())
        except (OSError, ValueError) as error:
            raise AuditUnavailable(f"{self._path}: {error}") from error
        if written != len(line):
            raise AuditUnavailable(f"{self._path}: the disk took {written} of {len(line)} bytes")

    def records(self) -> dict[str, Record]:
        """The last line of each record, in the order of their beginnings; from the end of a long file only. Blocks."""
        return read(self._path)

    def _end_torn_line(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        if size:
            self._file.seek(size - 1)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")


def read(path: Path) -> dict[str, Record]:
    """As `Audit.records`, for who only looks. A line that is no record, such as a torn one, is passed over."""
    found: dict[str, Record] = {}
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return found
    for line in lines[1:] if size > TAIL_BYTES else lines:
        if not line.strip():
            continue
        try:
            record = Record.model_validate_json(line)
        except ValidationError:
            log.warning("audit line is no record", path=str(path), length=len(line))
            continue
        found[record.id] = record
    return found


def moment(seconds: float) -> datetime:
    """Seconds since 1970, as a record has them."""
    return datetime.fromtimestamp(seconds, UTC)
