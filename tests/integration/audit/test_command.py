"""The auditor as a command: on the services' real tables, and when it cannot read."""

import asyncio
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from infra.audit.__main__ import main
from infra.audit.databases import Unreadable, snapshot
from infra.audit.report import NAMED
from shared.chassis.database import Database
from shared.chassis.migrations import migrate
from tests.integration.audit.world import sound_world

SERVICES = ("order", "payment", "inventory")
ROOT = Path(__file__).parents[3]


def options(urls: dict[str, str]) -> list[str]:
    return [part for service, url in urls.items() for part in (f"--{service}", url)]


@pytest.fixture(params=["sqlite", "postgres"])
def real_urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A migrated database for each service, on each engine."""
    if request.param == "sqlite":
        urls = {service: f"sqlite+aiosqlite:///{tmp_path / service}.sqlite" for service in SERVICES}
        asyncio.run(_migrate(urls))
        yield urls
        return
    server = request.getfixturevalue("postgres_server")
    names = {service: f"test_{service}_{uuid4().hex}" for service in SERVICES}
    home = server.get_postmaster_info().socket_dir
    for name in names.values():
        server.psql(f"CREATE DATABASE {name}")
    urls = {service: f"postgresql+asyncpg://postgres:@/{name}?host={home}" for service, name in names.items()}
    asyncio.run(_migrate(urls))
    yield urls
    for name in names.values():
        server.psql(f"DROP DATABASE {name} WITH (FORCE)")


async def _migrate(urls: dict[str, str]) -> None:
    for service, url in urls.items():
        database = Database(url)
        await migrate(database, ROOT / "services" / service / "migrations")
        await database.close()


def test_the_queries_fit_the_tables_that_the_services_make(
    real_urls: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options(real_urls)) == 0
    shown = capsys.readouterr().out
    assert "clean: every invariant holds" in shown


def test_the_auditor_can_only_read(real_urls: dict[str, str]) -> None:
    async def write() -> None:
        async with snapshot("inventory", real_urls["inventory"]) as database:
            await database.rows("INSERT INTO restocks VALUES ('k', 'bell', 1, 1) RETURNING key")

    with pytest.raises(Unreadable, match=r"read-?only"):
        asyncio.run(write())


def test_urls_may_come_from_the_environment_or_a_file_it_names(
    real_urls: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ORDER_DATABASE_URL", real_urls["order"])
    monkeypatch.setenv("PAYMENT_DATABASE_URL", real_urls["payment"])
    secret = tmp_path / "database_url"
    secret.write_text(real_urls["inventory"] + "\n")
    monkeypatch.setenv("INVENTORY_DATABASE_URL_FILE", str(secret))
    assert main([]) == 0


def test_offenders_are_named_up_to_a_limit_and_the_rest_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = sound_world()
    for n in range(NAMED + 3):
        world.add_payment(f"ghost-{n:02}", "CAPTURED")
    urls = {service: f"sqlite+aiosqlite:///{tmp_path / service}.sqlite" for service in SERVICES}
    outcome = world.audit(urls, tmp_path)
    shown = capsys.readouterr().out
    assert outcome.code == 1
    assert shown.count("ghost-") == NAMED
    assert "and 3 more" in shown
    assert "BROKEN: payments-owned" in shown
    (verdict,) = (v for v in outcome.verdicts["invariants"] if v["name"] == "payments-owned")
    assert (verdict["broken"], len(verdict["offenders"]), verdict["holds"]) == (NAMED + 3, NAMED, False)


@pytest.fixture
def urls(tmp_path: Path) -> dict[str, str]:
    urls = {service: f"sqlite+aiosqlite:///{tmp_path / service}.sqlite" for service in SERVICES}
    asyncio.run(_migrate(urls))
    return urls


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def not_migrated(directory: Path) -> str:
    path = directory / "empty.sqlite"
    sqlite3.connect(path).execute("CREATE TABLE something (id)").connection.close()
    return f"sqlite:///{path}"


def no_database(directory: Path) -> str:
    path = directory / "text.sqlite"
    path.write_text("not a database, but long enough to be looked at as one " * 20)
    return f"sqlite:///{path}"


UNREADABLE: list[tuple[str, Callable[[Path], str], str]] = [
    ("missing file", lambda directory: f"sqlite:///{directory}/none.sqlite", "there is no file"),
    ("not migrated", not_migrated, "no such table: orders"),
    ("no database", no_database, "not a database"),
    ("nobody listens", lambda _: f"postgresql://holdfast:hush@127.0.0.1:{closed_port()}/order", "is it running"),
    ("no URL", lambda _: "order.sqlite", "its URL is not one"),
    ("another engine", lambda _: "mysql://localhost/order", "mysql is not known here"),
]


@pytest.mark.parametrize(("make", "reason"), [pytest.param(*case[1:], id=case[0]) for case in UNREADABLE])
def test_a_database_that_cannot_be_read_is_named_with_exit_code_2(
    urls: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], str],
    reason: str,
) -> None:
    assert main(options(urls | {"order": make(tmp_path)})) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("audit: the order database cannot be read: ")
    assert reason in captured.err
    assert "hush" not in captured.err
    assert captured.out == ""
    assert not (tmp_path / "none.sqlite").exists()


def test_a_postgres_database_that_does_not_exist_is_named_with_exit_code_2(
    urls: dict[str, str], postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = postgres_url.replace("/test_", "/nowhere_")
    assert main(options(urls | {"payment": wrong})) == 2
    assert "the payment database cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "answers.jsonl:2: not JSON"),
        ("[]", "answers.jsonl:2: not an object"),
        ('{"status": 201}', "answers.jsonl:2: idempotency_key"),
        ('{"idempotency_key": "k", "status": "201"}', "answers.jsonl:2: status"),
        ('{"idempotency_key": "k", "status": 201, "id": 1}', "answers.jsonl:2: id"),
    ],
)
def test_an_answers_file_that_cannot_be_understood_is_refused_by_line(
    urls: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, reason: str
) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text(f'{{"idempotency_key": "k", "status": 503}}\n{line}\n')
    assert main([*options(urls), "--answers", str(answers)]) == 2
    assert reason in capsys.readouterr().err
