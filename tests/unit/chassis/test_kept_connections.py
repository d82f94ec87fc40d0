"""The transport for calls between services, against a server that does what a test tells it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from shared.chassis.kept_connections import KeptConnections

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LIMITS = {"connect": 5.0, "read": 5.0, "pool": 5.0}
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Counts connections; `requests` are what came in, heads only."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0

    def request(self, method: str = "GET", read: float = 5.0, **options: object) -> httpx.Request:
        extensions = {"timeout": LIMITS | {"read": read}}
        return httpx.Request(method, f"http://127.0.0.1:{self.port}/a?b=c", extensions=extensions, **options)


@asynccontextmanager
async def serving(answer: Callable[[Server, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[Server]:
    server = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        try:
            while True:
                server.requests.append(await reader.readuntil(b"\r\n\r\n"))
                await answer(server, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


async def well(_: Server, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


async def test_calls_one_after_the_other_share_a_connection() -> None:
    async with serving(well) as server, KeptConnections(4) as transport:
        for _ in range(3):
            response = await transport.handle_async_request(server.request("POST", content=b""))
            assert (response.status_code, response.content) == (200, b"ok")
    assert server.connections == 1
    assert server.requests[0].startswith(b"POST /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_an_answer_in_pieces_is_read_whole_and_one_that_only_promises_another_is_passed_by() -> None:
    async def in_pieces(_: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        writer.write(b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\nx-a: 1\r\n\r\n3\r\nabc")
        await writer.drain()
        writer.write(b"\r\n2\r\nde\r\n0\r\n\r\n")

    async with serving(in_pieces) as server, KeptConnections(4) as transport:
        response = await transport.handle_async_request(server.request())
    assert (response.status_code, response.content, response.headers["x-a"]) == (201, b"abcde", "1")


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", b"nonsense\r\n\r\n"])
async def test_an_answer_that_breaks_off_is_an_error_and_its_connection_is_not_used_again(sent: bytes) -> None:
    async def breaks_off(server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(OK if len(server.requests) > 1 else sent)
        if len(server.requests) == 1:
            raise ConnectionResetError

    async with serving(breaks_off) as server, KeptConnections(1) as transport:
        with pytest.raises(httpx.RemoteProtocolError):
            await transport.handle_async_request(server.request())
        assert (await transport.handle_async_request(server.request())).status_code == 200
    assert server.connections == 2


async def test_a_connection_that_the_server_closes_after_its_answer_is_not_used_again() -> None:
    async def once(_: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        raise ConnectionResetError

    async with serving(once) as server, KeptConnections(1) as transport:
        for _ in range(2):
            assert (await transport.handle_async_request(server.request())).content == b"ok"
    assert server.connections == 2


async def test_a_late_answer_and_a_caller_that_leaves_free_the_place_and_close_the_connection() -> None:
    never, asked = asyncio.Event(), asyncio.Event()

    async def waits(server: Server, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) > 2:
            writer.write(OK)
            return
        asked.set()
        await never.wait()

    async with serving(waits) as server, KeptConnections(1) as transport:
        with pytest.raises(httpx.ReadTimeout):
            await transport.handle_async_request(server.request(read=0.05))
        asked.clear()
        leaving = asyncio.create_task(transport.handle_async_request(server.request()))
        await asked.wait()
        limits = {"timeout": LIMITS | {"pool": 0.05}}
        with pytest.raises(httpx.PoolTimeout):
            await transport.handle_async_request(httpx.Request("GET", "http://127.0.0.1:1/", extensions=limits))
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert (await transport.handle_async_request(server.request())).content == b"ok"
        never.set()
    assert server.connections == 3


async def test_what_cannot_be_reached_or_is_not_spoken_is_told_from_each_other() -> None:
    async with serving(well) as server:
        gone = server.request()
    async with KeptConnections(1) as transport:
        with pytest.raises(httpx.ConnectError):
            await transport.handle_async_request(gone)
        for request in (httpx.Request("GET", "https://127.0.0.1/"), httpx.Request("HEAD", "http://127.0.0.1/")):
            with pytest.raises(httpx.UnsupportedProtocol):
                await transport.handle_async_request(request)
        with pytest.raises(httpx.LocalProtocolError):
            await transport.handle_async_request(httpx.Request("GET", "http://127.0.0.1/", headers={"x": "a\r\nb: c"}))
