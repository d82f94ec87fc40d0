"""Connections that never ask anything are given up; those that ask are not."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn
from uvicorn.server import ServerState

from shared.chassis import connections
from shared.chassis.connections import Door

Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def _app(_scope: object, _receive: object, send: object) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(connections, "FIRST_REQUEST_SECONDS", 0.2)
    config, state, door = uvicorn.Config(_app, log_config=None, lifespan="off"), ServerState(), Door()
    config.load()
    make = door.protocol()
    server = await asyncio.get_running_loop().create_server(
        lambda: make(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    yield server.sockets[0].getsockname()[1]
    server.close()
    for connection in list(state.connections):
        connection.transport.abort()


@pytest.mark.parametrize("said", [b"", REQUEST[:-2]], ids=["nothing", "half a request"])
async def test_a_connection_without_a_first_request_is_closed(port: int, said: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()


async def test_a_connection_that_has_asked_once_is_kept(port: int) -> None:
    asks, (silent, other) = (
        await asyncio.open_connection("127.0.0.1", port),
        await asyncio.open_connection("127.0.0.1", port),
    )
    async with asyncio.timeout(20):
        assert await _answer(asks) == b"HTTP/1.1 204 No Content"
        assert await silent.read() == b""  # the time of the other one's first request is over, too
        assert await _answer(asks) == b"HTTP/1.1 204 No Content"
    for writer in (asks[1], other):
        writer.close()


async def _answer(opened: Opened) -> bytes:
    reader, writer = opened
    writer.write(REQUEST)
    return (await reader.readuntil(b"\r\n\r\n")).splitlines()[0]
