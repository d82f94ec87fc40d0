"""A small HTTP/1.1 server on a port of its own: it answers as scripted and remembers what it was asked."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """One answer.

    chunked: send the body in these pieces, of no announced length
    hold:    wait for `server.go_on` before the headers ("headers") or after the first piece ("body")
    cut:     end the connection in place of the rest of the body
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    chunked: list[bytes] | None = None
    hold: str = ""
    cut: bool = False


class Server:
    """Answers with `script`, one item a request; the last one repeats."""

    def __init__(self, *script: Reply) -> None:
        self.script = list(script) or [Reply()]
        self.asked: list[Asked] = []
        self.arrived = asyncio.Event()
        self.go_on = asyncio.Event()
        self.hung_up = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while (asked := await _read_request(reader)) is not None:
                reply = self.script[min(len(self.asked), len(self.script) - 1)]
                self.asked.append(asked)
                self.arrived.set()
                if await self._answer(reply, reader, writer):
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """True: the connection is over."""
        if reply.hold == "headers" and await self._held(reader):
            return True
        pieces = reply.chunked if reply.chunked is not None else [reply.body]
        length = "transfer-encoding: chunked" if reply.chunked is not None else f"content-length: {len(reply.body)}"
        lines = [f"HTTP/1.1 {reply.status} Scripted", length, *(f"{n}: {v}" for n, v in reply.headers.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        for number, piece in enumerate(pieces):
            if reply.cut:
                piece = piece[: len(piece) // 2]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if reply.chunked is not None else piece)
            await writer.drain()
            if reply.cut or (number == 0 and reply.hold == "body" and await self._held(reader)):
                return True
        if reply.chunked is not None:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return False

    async def _held(self, reader: asyncio.StreamReader) -> bool:
        """Wait to be let go; True when the client has hung up before."""
        waits: list[asyncio.Task[object]] = [
            asyncio.ensure_future(_any(self.go_on.wait)),
            asyncio.ensure_future(_any(lambda: reader.read(1))),
        ]
        done, running = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in running:
            wait.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if waits[1] in done:
            self.hung_up.set()
            return True
        return False


async def _any(wait: Callable[[], Awaitable[object]]) -> object:
    return await wait()


async def _read_request(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, headers, body)
