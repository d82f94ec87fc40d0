"""Asking others over HTTP, briefly: an answer within a second or so, or a reason why there is none."""

import asyncio
from typing import Any

import aiohttp
import orjson

_MOST_BYTES = 16_000_000
_MOST_CONNECTIONS = 32
NOBODY = "nothing listens there"
"""The reason when an address refuses, or a name leads to none."""


class Away(Exception):
    """No usable answer; the message says why, for people."""


class Web:
    """One pool of connections to the platform. `token` goes to admin routes only."""

    def __init__(self, token: str) -> None:
        self._admin = {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the pool, inside the running loop."""
        connector = aiohttp.TCPConnector(limit=_MOST_CONNECTIONS, keepalive_timeout=20)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False, auto_decompress=True)

    async def close(self) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()

    async def get(
        self,
        url: str,
        params: dict[str, str] | None = None,
        *,
        seconds: float = 1.0,
        admin: bool = False,
        host: str = "",
    ) -> Any:
        """The JSON at an address. Raises `Away`."""
        status, body = await self.ask("GET", url, params=params, seconds=seconds, admin=admin, host=host)
        if status >= 400:
            raise Away(f"HTTP {status}")
        return body

    async def ask(
        self,
        method: str,
        url: str,
        *,
        params: dict[str, str] | None = None,
        data: dict[str, str] | None = None,
        json: Any = None,
        headers: dict[str, str] | None = None,
        seconds: float = 3.0,
        admin: bool = False,
        host: str = "",
    ) -> tuple[int, Any]:
        """Status and JSON of an answer, whatever the status; None for a body that is none. Raises `Away`.

        host: whom the request names, when that is not the address
        """
        if self._session is None:
            raise Away("the page is just starting")
        sent = (self._admin if admin else {}) | ({"Host": host} if host else {}) | (headers or {})
        body: Any = data
        if json is not None:
            body, sent = orjson.dumps(json), sent | {"Content-Type": "application/json"}
        try:
            async with asyncio.timeout(seconds):
                async with self._session.request(method, url, params=params, data=body, headers=sent) as answer:
                    if (answer.content_length or 0) > _MOST_BYTES:
                        raise Away(f"an answer of {answer.content_length} bytes")
                    return answer.status, _json(await answer.read())
        except TimeoutError:
            raise Away(f"no answer within {seconds:g} s") from None
        except aiohttp.ClientError as error:
            raise Away(_reason(error)) from None


def _json(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _reason(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return NOBODY
    return f"{type(error).__name__}"
