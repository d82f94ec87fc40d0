"""When the descriptors run out: who comes too late is told, what was taken goes on, and all is well afterwards."""

import contextlib
import http.client
import json
import resource
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.integration.chassis.test_serve import Service, Start, metrics, start, wait_for

__all__ = ["start"]  # the fixture

IDLE_SECONDS = 0.6


@contextlib.contextmanager
def limited(service: Service, descriptors: int) -> Iterator[None]:
    """The process may have no more descriptors than that, as after `prlimit --nofile`."""
    before = resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (descriptors, before[1]))
    try:
        yield
    finally:
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, before)


@contextlib.contextmanager
def regular(service: Service) -> Iterator[http.client.HTTPConnection]:
    """A caller that was there before, with a connection that is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    try:
        assert asked(connection, "/health/ready")[0] == 200
        yield connection
    finally:
        connection.close()


def asked(connection: http.client.HTTPConnection, path: str, method: str = "GET") -> tuple[int, dict[str, object]]:
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def cut(connection: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


def highest_descriptor(service: Service) -> int:
    return max(int(path.name) for path in Path(f"/proc/{service.process.pid}/fd").iterdir())


def test_connections_beyond_the_limit_are_told_and_those_within_it_are_served(start: Start) -> None:
    service = start().wait_ready()
    with contextlib.ExitStack() as crowd, regular(service) as early, limited(service, 100):
        idle = [
            crowd.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=30)) for _ in range(60)
        ]
        late = crowd.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port, 30)))
        late.request("GET", "/health/ready")
        refused = late.getresponse()
        assert (refused.status, refused.getheader("retry-after")) == (503, "1")
        assert json.loads(refused.read())["type"] == "/problems/too-many-connections"
        assert asked(early, "/echo", "POST")[0] == 200
        assert asked(early, "/health/ready")[0] == 200
        for each in idle:
            each.close()
        wait_for(lambda: asks_in_vain(service) is False)
    (counted,) = [line for line in metrics(service).splitlines() if line.startswith(b"connections_refused_total ")]
    assert float(counted.split()[1]) >= 61 + 1 - 50


def asks_in_vain(service: Service) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return service.ask("GET", "/health/ready")[0] != 200
    return True


def test_without_a_single_descriptor_it_says_so_burns_no_processor_and_serves_again(start: Start) -> None:
    service = start().wait_ready()
    process = psutil.Process(service.process.pid)
    with regular(service) as early, contextlib.ExitStack() as crowd:
        with limited(service, highest_descriptor(service) + 1):
            late = [
                crowd.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=30))
                for _ in range(20)
            ]
            assert {cut(each) for each in late} == {True}
            status, body = asked(early, "/health/ready")
            dependencies = body["dependencies"]
            assert isinstance(dependencies, dict)
            assert (status, dependencies["descriptors"]["reason"]) == (503, "OSError")
            assert asked(early, "/echo", "POST")[0] == 200
            before = sum(process.cpu_times()[:2])
            # a loop that tries to accept what it cannot would use all of that time
            assert select.select([early.sock], [], [], IDLE_SECONDS)[0] == []
            assert sum(process.cpu_times()[:2]) - before < 0.5 * IDLE_SECONDS
        assert asked(early, "/health/ready")[0] == 200
    wait_for(lambda: asks_in_vain(service) is False)
    assert service.process.poll() is None
