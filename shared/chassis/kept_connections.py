"""An httpx transport for calls between services: HTTP/1.1 over connections that are kept, on asyncio and httptools.

It does what such calls need, at half of the cost of aiohttp behind httpx: whole bodies, plain text, no redirects,
proxies, cookies or upgrades. A connection serves one request at a time; one whose
request did not end well is closed. Of HTTP only GET and POST are spoken, so that no answer is without its body.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import httptools
import httpx

IDLE_SECONDS = 20.0
"""Less than any server of ours keeps a connection that is idle, so that hardly ever both ends act at once."""

MOST_BYTES = 16 * 2**20
"""Of the body of an answer."""

_Address = tuple[str, int]


class KeptConnections(httpx.AsyncBaseTransport):
    """At most `limit` requests are on their way at once; the others wait for the `pool` time of their timeout.

    keep: whether connections are used again
    look_up: gives the address of a name, or raises OSError; None: the system does
    Raises httpx's errors: `ConnectError`, `ConnectTimeout`, `PoolTimeout`, `ReadTimeout`, `RemoteProtocolError` when
    the server hangs up or cannot be understood, `UnsupportedProtocol` for anything but http, GET and POST.
    """

    def __init__(
        self, limit: int, *, keep: bool = True, look_up: Callable[[str], Awaitable[str]] | None = None
    ) -> None:
        self._free, self._keep, self._look_up = asyncio.Semaphore(limit), keep, look_up
        self._idle: dict[_Address, deque[_Connection]] = {}
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request and its whole answer."""
        if request.url.scheme != "http" or request.method not in ("GET", "POST"):
            raise httpx.UnsupportedProtocol(f"{request.method} {request.url.scheme}", request=request)
        limits = request.extensions.get("timeout", {})
        message = _written(request, await request.aread())
        with _named(httpx.PoolTimeout, request):
            async with asyncio.timeout(limits.get("pool")):
                await self._free.acquire()
        try:
            return await self._exchange(request, message, limits)
        finally:
            self._free.release()

    async def aclose(self) -> None:
        """Close what is idle; what is not is closed when its request ends."""
        self._closed = True
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _exchange(
        self, request: httpx.Request, message: bytes, limits: dict[str, float | None]
    ) -> httpx.Response:
        address = (request.url.host, request.url.port or 80)
        connection = self._taken(address) or await self._connect(request, address, limits.get("connect"))
        try:
            with _named(httpx.ReadTimeout, request):
                async with asyncio.timeout(limits.get("read")):
                    status, headers, body = await connection.ask(message)
        except BaseException as error:
            connection.close()
            if isinstance(error, httpx.TransportError):
                error.request = request
            raise
        self._give_back(address, connection)
        return httpx.Response(status, headers=headers, content=body, request=request)

    def _taken(self, address: _Address) -> "_Connection | None":
        connections = self._idle.get(address)
        while connections:
            connection = connections.pop()  # the one used last: the others may grow old
            if connection.usable_since(time.monotonic() - IDLE_SECONDS):
                return connection
            connection.close()
        return None

    def _give_back(self, address: _Address, connection: "_Connection") -> None:
        if self._closed or not self._keep or not connection.keeps:
            connection.close()
            return
        connections = self._idle.setdefault(address, deque())
        connections.append(connection)
        oldest = time.monotonic() - IDLE_SECONDS
        while connections and not connections[0].usable_since(oldest):
            connections.popleft().close()

    async def _connect(self, request: httpx.Request, address: _Address, seconds: float | None) -> "_Connection":
        host, port = address
        try:
            with _named(httpx.ConnectTimeout, request):
                async with asyncio.timeout(seconds):
                    if self._look_up is not None:
                        host = await self._look_up(host)
                    _, connection = await asyncio.get_running_loop().create_connection(_Connection, host, port)
        except OSError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        return connection


class _Connection(asyncio.Protocol):
    """One connection. The methods `on_...` are called by the parser."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[tuple[int, list[tuple[bytes, bytes]], bytes]] | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._used = time.monotonic()
        self.keeps = True

    async def ask(self, message: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Send a request; status, headers and body of its answer. Raises `httpx.RemoteProtocolError`."""
        if self._transport is None:
            raise httpx.RemoteProtocolError("the server hung up before the request was sent")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._answer

    def usable_since(self, oldest: float) -> bool:
        """Open, and used after that time."""
        return self._transport is not None and self._used > oldest

    def close(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment] # uvloop's is no subclass of asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        self._transport = None
        self._fail(f"the server hung up: {exc}" if exc else "the server hung up without an answer")

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if self._answer is None or self._answer.done():
            self.close()  # nobody has asked, or nobody waits any more
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"not an answer: {error}")
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one."""
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        """Keep a part of it."""
        self._body += body
        if len(self._body) > MOST_BYTES:
            self._fail(f"an answer of more than {MOST_BYTES} bytes")
            self.close()

    def on_message_complete(self) -> None:
        """Hand the answer over; one that only says that there will be one (1xx) is passed by."""
        status = self._parser.get_status_code()
        answer, self._headers, self._body = (status, self._headers, bytes(self._body)), [], bytearray()
        if status < 200:
            return
        self.keeps = self._parser.should_keep_alive()
        self._used = time.monotonic()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def _fail(self, reason: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(httpx.RemoteProtocolError(reason))


@contextmanager
def _named(kind: type[httpx.TimeoutException], request: httpx.Request) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise kind("too late", request=request) from None


def _written(request: httpx.Request, body: bytes) -> bytes:
    parts = [request.method.encode(), b" ", request.url.raw_path, b" HTTP/1.1\r\n"]
    for name, value in request.headers.raw:
        if b"\r" in value or b"\n" in value or b"\r" in name or b"\n" in name:
            raise httpx.LocalProtocolError("a header with a line break", request=request)
        parts += (name, b": ", value, b"\r\n")
    parts += (b"\r\n", body)
    return b"".join(parts)
