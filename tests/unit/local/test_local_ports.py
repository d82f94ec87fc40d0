"""A taken port is named with its owner and with the setting that moves it."""

import os
import socket
from collections.abc import Iterator

import psutil
import pytest

from infra.local import ports
from infra.local.errors import StackError
from infra.local.settings import LocalSettings


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def test_a_taken_port_names_pid_command_line_and_setting(taken: int) -> None:
    with pytest.raises(StackError) as caught:
        ports.refuse_taken(LocalSettings(port_payment_v2=taken))
    line = next(line for line in str(caught.value).splitlines() if f"Port {taken} " in line)
    assert f"pid {os.getpid()} ({' '.join(psutil.Process().cmdline())})" in line
    assert "port_payment_v2 (HOLDFAST_PORT_PAYMENT_V2=...)" in line


def test_an_owner_that_cannot_be_seen_is_said_to_be_so(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    assert ports.owner(taken) == "a process that only root may see"


def test_a_port_with_a_listener_that_shares_it_is_taken_all_the_same() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        assert not ports.free("127.0.0.1", listener.getsockname()[1])


def test_a_port_that_was_just_given_back_is_free(taken: int) -> None:
    with socket.create_connection(("127.0.0.1", taken)):
        pass
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    assert ports.free("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StackError, match="not an address of this machine"):
        ports.free("192.0.2.1", 8080)
