"""Reads the programs' logs: the last lines, or line by line as they come; by program and by trace."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TAIL_BYTES = 256 * 1024
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Line:
    """One log line and the program that wrote it."""

    program: str
    text: str

    @property
    def fields(self) -> dict[str, object]:
        """What a structured line says; empty for a plain one."""
        if not self.text.startswith("{"):
            return {}
        try:
            fields = json.loads(self.text)
        except ValueError:
            return {}
        return fields if isinstance(fields, dict) else {}

    @property
    def moment(self) -> str:
        """ISO 8601 time of a structured line, which sorts as text; empty for a plain one."""
        return str(self.fields.get("timestamp", ""))


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file; empty when there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    return lines[-count:] if count else []


def files(logs: Path, service: str) -> list[Path]:
    """The log files of a program, of a service's replicas, or of everything (empty `service`)."""
    found = sorted(logs.glob("*.log"))
    if not service:
        return found
    return [path for path in found if path.stem == service or _replica_of(path.stem) == service]


def recent(logs: Path, service: str, trace: str, count: int) -> list[Line]:
    """The last `count` lines of all chosen programs together, in the order of their time stamps.

    A plain line (a traceback) stays behind the structured line that it follows.
    """
    stamped: list[tuple[str, Line]] = []
    for path in files(logs, service):
        moment = ""
        for text in last_lines(path, count if not trace else 100_000):
            line = Line(path.stem, text)
            moment = line.moment or moment
            if belongs(line, trace):
                stamped.append((moment, line))
    stamped.sort(key=lambda pair: pair[0])
    return [line for _, line in stamped][-count:]


def follow(logs: Path, service: str, trace: str) -> Iterator[Line]:
    """Every line from now on, for ever; files that are rotated or appear later are followed too."""
    readers: dict[Path, _Reader] = {path: _Reader(path, at_end=True) for path in files(logs, service)}
    while True:
        for path in files(logs, service):
            reader = readers.setdefault(path, _Reader(path, at_end=False))
            for text in reader.new_lines():
                line = Line(path.stem, text)
                if belongs(line, trace):
                    yield line
        time.sleep(_LOOK_SECONDS)


def belongs(line: Line, trace: str) -> bool:
    """Whether the line is part of a trace; every line is part of the empty one."""
    return not trace or str(line.fields.get("trace_id", "")) == trace


def _replica_of(program: str) -> str:
    service, _, number = program.rpartition("-")
    return service if number.isdigit() else program


class _Reader:
    def __init__(self, path: Path, *, at_end: bool) -> None:
        self._path = path
        self._inode = path.stat().st_ino
        self._position = path.stat().st_size if at_end else 0
        self._partial = b""

    def new_lines(self) -> list[str]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return []  # between the two steps of a rotation
        if found.st_ino != self._inode or found.st_size < self._position:
            self._inode, self._position, self._partial = found.st_ino, 0, b""
        if found.st_size == self._position:
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            read = file.read(4 * _TAIL_BYTES)
        self._position += len(read)
        *whole, self._partial = (self._partial + read).split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole]
