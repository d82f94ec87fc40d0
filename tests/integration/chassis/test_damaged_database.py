"""An SQLite file that is not whole: refused at the start with all that is needed to mend it, and never written to."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from shared.chassis.damage import find_damage
from tests.integration.chassis.test_migrations import folder
from tests.integration.chassis.test_serve import Service, Start, start, wait_for

__all__ = ["start"]  # the fixture

PAGE = 4_096
TABLE = 'op.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT)")'


@pytest.fixture
def begin(start: Start, tmp_path: Path) -> Callable[[], Service]:
    """Starts a service whose database has a table for notes."""
    (tmp_path / "own").mkdir()
    migrations = str(folder(tmp_path / "own", TABLE))
    return lambda: start(MIGRATIONS=migrations)


def filled(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT)")
        connection.executemany("INSERT INTO notes (body) VALUES (?)", [("x" * 1_000,)] * 400)
    return path


def overwritten(path: Path) -> None:
    """As by a disk that has written something else there: pages in the middle, the header is good."""
    with path.open("r+b") as file:
        file.seek(20 * PAGE)
        file.write(b"\xa5" * 40 * PAGE)


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(10 * PAGE)


def no_database(path: Path) -> None:
    path.write_text("It is a letter and no database.\n" * 1_000)


def emptied(path: Path) -> None:
    path.write_bytes(b"")
    path.with_name(f"{path.name}-wal").write_bytes(b"what had been written")


DAMAGES = [overwritten, truncated, no_database, emptied]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_found_and_left_as_it_is(damage: Callable[[Path], None], tmp_path: Path) -> None:
    path = filled(tmp_path / "notes.sqlite")
    assert find_damage(path) == ""
    damage(path)
    before = path.read_bytes()
    assert find_damage(path)
    assert path.read_bytes() == before


def test_what_is_not_there_yet_or_cannot_be_looked_at_in_time_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "new.sqlite").touch()
    path = filled(tmp_path / "large.sqlite")
    for name in ("none", "new"):
        assert find_damage(tmp_path / f"{name}.sqlite") == ""
    assert find_damage(path, 0) == ""


def test_a_start_on_a_damaged_file_is_refused_with_file_reason_and_mending(start: Start, tmp_path: Path) -> None:
    started = {}
    for damage, migrate in ((overwritten, "on"), (emptied, "on"), (no_database, "off")):
        path = filled(tmp_path / f"{damage.__name__}.sqlite")
        damage(path)
        started[path] = start(DATABASE_URL=f"sqlite+aiosqlite:///{path}", MIGRATE=migrate)
    for path, service in started.items():
        code, _, err = service.end()
        assert (code, err.count("\n")) == (78, 1), err
        for word in (str(path), "is damaged: ", "restore it from a backup"):
            assert word in err


def test_a_file_that_is_damaged_under_a_service_ends_in_503_and_no_readiness_until_it_is_restored(
    begin: Callable[[], Service], tmp_path: Path
) -> None:
    service, path = begin().wait_ready(), tmp_path / "tiny.sqlite"
    assert service.ask("POST", f"/notes?count=400&body={'x' * 1_000}") == (200, {"written": 400})
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    backup = path.read_bytes()
    overwritten(path)
    status, problem = service.ask("GET", "/notes")
    assert (status, problem["type"]) == (503, "/problems/database-unavailable")
    status, body = service.ask("GET", "/health/ready")
    assert (status, body["dependencies"]["database"]["reason"]) == (503, "DatabaseDamaged")
    damaged = path.read_bytes()
    assert service.ask("POST", "/notes?body=more")[0] == 503  # where one could be added, and would spoil more
    assert path.read_bytes() == damaged
    assert service.ask("GET", "/health/live")[0] == 200
    service.process.terminate()
    code, out, _ = service.end()
    assert (code, out.count("database damaged, nothing is read or written any more")) == (0, 1)
    path.write_bytes(backup)
    for left in ("-wal", "-shm"):
        path.with_name(path.name + left).unlink(missing_ok=True)
    again = begin()
    wait_for(lambda: again.process.poll() is not None or again.listens(again.port))
    assert again.wait_ready().ask("GET", "/notes") == (200, {"notes": 400})
