"""How a service starts, stops and survives: real processes, real sockets, real signals."""

import contextlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.chassis.test_migrations import folder

ROOT = Path(__file__).parents[3]
PATIENCE = 90.0

Start = Callable[..., "Service"]


class Service:
    """One running replica."""

    def __init__(self, environment: dict[str, str], **streams: Any) -> None:
        self.port, self.shared = int(environment["PORT"]), int(environment["SERVICE_PORT"])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fixtures.tiny_service"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        )

    def wait_ready(self) -> "Service":
        until = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask("GET", "/health/ready")[0] == 200:
                    return self
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until
            time.sleep(0.02)

    def ask(self, method: str, path: str, body: bytes = b"", *, port: int = 0) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, (out or b"").decode(), (err or b"").decode()

    def listens(self, port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Service] = []
    migrations = folder(tmp_path, "pass")

    def start(streams: dict[str, Any] | None = None, **changes: str) -> Service:
        environment = {
            "INSTANCE": f"tiny-{len(started)}",
            "HOST": "127.0.0.1",
            "PORT": str(free_port()),
            "SERVICE_PORT": "0",
            "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/tiny.sqlite",
            "ADMIN_TOKEN": "an-admin-token-of-the-tiny",
            "MIGRATIONS": str(migrations),
            **changes,
        }
        started.append(Service(environment, **(streams or {})))
        return started[-1]

    yield start
    for service in started:
        service.process.kill()
        service.process.communicate()


def test_a_start_that_cannot_succeed_says_why_in_one_line_and_by_its_exit_code(start: Start, tmp_path: Path) -> None:
    newer = sqlite3.connect(tmp_path / "newer.sqlite")
    newer.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
    newer.execute("INSERT INTO alembic_version VALUES ('0099')")
    newer.commit()
    newer.close()
    (tmp_path / "file").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        expected = [
            (start(ADMIN_TOKEN="hunter2", INSTANCE="hunter2 hunter2"), 78, "ADMIN_TOKEN: "),
            (start(DATABASE_URL="postgres://root:hunter2@db/x"), 78, "DATABASE_URL: "),
            (start(OTEL_TRACES_SAMPLER="sometimes"), 78, "OTEL_TRACES_SAMPLER: must be one of always_on, "),
            (start(PORT=port), 75, f"127.0.0.1:{port}: Address already in use"),
            (start(DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path}/file/db"), 75, "unable to open database file"),
            (
                start(DATABASE_URL="postgresql+asyncpg://tiny:hunter2@db.invalid/tiny"),
                75,
                "database unavailable: gaierror",
            ),
            (start(DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path}/newer.sqlite"), 78, "at revision 0099, newer than"),
        ]
        for service, code, words in expected:
            returned, out, err = service.end()
            assert (returned, err.count("\n")) == (code, 1), err
            assert words in err
            assert "hunter2" not in out + err


def test_sigterm_answers_what_is_in_flight_refuses_the_rest_and_ends_with_0(start: Start) -> None:
    service = start(SERVICE_PORT=str(free_port()), DRAIN_SECONDS="40").wait_ready()
    idle = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    idle.request("GET", "/health/live")
    idle.getresponse().read()
    with socket.create_connection(("127.0.0.1", service.shared), timeout=30) as half:
        half.sendall(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345")
        wait_for(lambda: b"requests_in_flight 1.0" in metrics(service))
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not service.listens(service.port) and not service.listens(service.shared))
        assert service.process.poll() is None
        half.sendall(b"67890")
        answer = b"".join(iter(lambda: half.recv(65_536), b""))
    started = time.monotonic()
    code, out, err = service.end()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"bytes":10' in answer
    assert (code, err) == (0, "")
    assert time.monotonic() - started < 20
    events = [json.loads(line)["event"] for line in out.splitlines()]
    assert events.index("resources closed") < events.index("service stopped")
    idle.close()


def test_a_second_signal_changes_nothing(start: Start) -> None:
    service = start().wait_ready()
    for _ in range(5):
        service.process.send_signal(signal.SIGTERM)
    code, out, err = service.end()
    assert (code, err) == (0, "")
    assert json.loads(out.splitlines()[-1])["service"] == "tiny"


def test_a_drain_that_does_not_end_is_cut_short(start: Start) -> None:
    service = start(DRAIN_SECONDS="0.3").wait_ready()
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as stuck:
        stuck.sendall(b"POST /deaf HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        wait_for(lambda: b"requests_in_flight 1.0" in metrics(service))
        service.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        code, out, _ = service.end()
    assert code == 70
    assert time.monotonic() - started < 20
    assert "the drain did not end in time" in out


def test_two_replicas_share_the_service_port_and_one_killed_leaves_the_other(start: Start) -> None:
    shared = str(free_port())
    one, two = start(SERVICE_PORT=shared), start(SERVICE_PORT=shared)
    one.wait_ready()
    two.wait_ready()
    seen = {one.ask("POST", "/echo", port=one.shared)[1]["instance"] for _ in range(60)}
    assert seen == {"tiny-0", "tiny-1"}
    one.process.kill()
    one.process.wait(PATIENCE)
    assert {two.ask("POST", "/echo", port=two.shared)[1]["instance"] for _ in range(20)} == {"tiny-1"}


def test_a_log_that_nobody_reads_or_can_read_does_not_stop_the_service(start: Start) -> None:
    reading, writing = os.pipe()
    broken = start(streams={"stdout": writing, "stderr": writing})
    os.close(writing)
    os.close(reading)
    stuck = start()
    closed = start(streams={"stdout": None, "stderr": None, "preexec_fn": lambda: (os.close(1), os.close(2))})
    for service in (broken, stuck, closed):
        service.wait_ready()
        assert service.ask("POST", "/talk?lines=3000") == (200, {"lines": 3000})  # some 800 kB: no pipe holds that
        assert service.ask("POST", "/echo", b"12")[1]["bytes"] == 2
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(PATIENCE) == 0


def test_over_a_socket_bad_requests_get_their_problem_and_never_an_error_of_ours(start: Start) -> None:
    service = start(REQUEST_SECONDS="0.3", MAX_BODY_BYTES="1024").wait_ready()
    echo = b"POST /echo HTTP/1.1\r\nhost: x\r\n"
    chunk = b"200\r\n" + b"x" * 512 + b"\r\n"
    for request, status, closes in [
        (echo + b"transfer-encoding: chunked\r\n\r\n" + chunk * 3, 413, True),
        (echo + b"content-length: 1025\r\n\r\n", 413, True),
        (echo + b"content-length: 10\r\n\r\n12345", 408, True),
        (echo + b"transfer-encoding: chunked\r\n\r\n" + chunk, 408, True),
        (echo + b"transfer-encoding: chunked\r\n\r\n" + chunk * 2 + b"0\r\n\r\n", 200, False),
        (b"POST /wait HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nx-deadline-ms: 50\r\n\r\n", 504, False),
        (b"GET /\xe2\x98\x83?q=\xff HTTP/1.1\r\nhost: x\r\n\r\n", 404, False),
        (b"GET /%ed%a0%80?q=%ff%00 HTTP/1.1\r\nhost: [\r\n\r\n", 404, False),
        (b"GET /nowhere?q=\xff HTTP/1.1\r\nhost: x\r\nx-odd: \xff\xfe\x80\r\n\r\n", 404, False),
        (b"DELETE /echo HTTP/1.1\r\nhost: x\r\n\r\n", 405, False),
        (b"HEAD /echo HTTP/1.1\r\nhost: x\r\n\r\n", 405, False),
        (b"GET /metrics/ HTTP/1.1\r\nhost: x\r\n\r\n", 404, False),
    ]:
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
            connection.sendall(request)
            answer = http.client.HTTPResponse(connection, method=request.split()[0].decode())
            answer.begin()
            body = answer.read()
            if answer.status == 400 and not request.split(b"\r\n")[0].isascii():
                continue  # the server's own: that is no HTTP
            assert answer.status == status, (request[:80], answer.status, body)
            assert (answer.getheader("connection") == "close") is closes
            if status != 200 and not request.startswith(b"HEAD"):
                assert json.loads(body)["status"] == status
                assert answer.getheader("content-type") == "application/problem+json"
    service.process.send_signal(signal.SIGTERM)
    assert '"request failed"' not in service.end()[1]


def metrics(service: Service) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    connection.request("GET", "/metrics")
    body = connection.getresponse().read()
    connection.close()
    return body


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
