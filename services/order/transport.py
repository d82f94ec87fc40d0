"""httpx over aiohttp's connections, for answers that are read whole.

`httpx_aiohttp` streams every answer through httpx's layers; calls between services are a few hundred bytes, and all of
an answer is wanted. Errors are mapped as that package maps them.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache

import aiohttp
import httpx
from httpx_aiohttp.transport import map_aiohttp_exceptions
from yarl import URL

_KEEP_SECONDS = 30


class WholeAnswers(httpx.AsyncBaseTransport):
    """A transport over `session`. A request's time limits are in its extension `timeout`, as httpx's clients set it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, read its answer to the end. Raises `httpx.TransportError`."""
        limits = request.extensions.get("timeout", {})
        with map_aiohttp_exceptions():
            async with self._session.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=request.headers,
                data=request.content or None,
                allow_redirects=False,
                timeout=_limits(limits.get("pool"), limits.get("connect"), limits.get("read")),
            ) as answer:
                body = await answer.read()
        return httpx.Response(answer.status, headers=answer.raw_headers, content=body, request=request)


@asynccontextmanager
async def http_transport(max_connections: int) -> AsyncIterator[httpx.AsyncBaseTransport]:
    """The transport of a process, with at most so many connections. Several times the throughput of httpx's own."""
    connector = aiohttp.TCPConnector(limit=max_connections, keepalive_timeout=_KEEP_SECONDS, ssl=_no_tls())
    # what is compressed httpx unpacks
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as session:
        yield WholeAnswers(session)


@lru_cache(maxsize=16)
def _limits(pool: float | None, connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(connect=pool, sock_connect=connect, sock_read=read)


def _no_tls() -> ssl.SSLContext:
    # encryption between services is the mesh's: an https address fails here instead of being trusted by accident, and
    # some 5 MB of certificate authorities stay on disk
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
