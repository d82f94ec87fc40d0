"""How the order service speaks to others: one small HTTP client, and the errors that the resilience policies look at.

What an answer means for an order is for the clients built on it (`payment_client.py`, `inventory_client.py`).
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from opentelemetry import propagate

from shared.chassis.auth import TokenSigner
from shared.resilience import DEADLINE_HEADER, current_attempt, format_deadline, remaining

_CONNECT_SECONDS = 1.0
_BACKSTOP_SECONDS = 10.0
"""The policies' timeouts are shorter; this one holds where a policy's timeout is switched off."""

_RETRIABLE = frozenset((408, 425, 429))


class UpstreamUnavailable(Exception):
    """The other side could not do it now: 5xx, 408, 425 or 429, or an answer that cannot be read.

    retry_after: what it asked for, in seconds; negative when what it asked for cannot be read (then: do not retry)
    """

    def __init__(self, service: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(f"{service} answered {status}")
        self.service, self.status, self.retry_after = service, status, retry_after


class UpstreamUnreachable(Exception):
    """No answer: there was no connection to be had, or it was lost; the request may have taken effect."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"{service} was not reached: {reason}")
        self.service = service


class UpstreamRefused(Exception):
    """The other side does not take the call (4xx that no caller expects): a defect or a wrong key, not bad luck."""

    def __init__(self, service: str, status: int, slug: str) -> None:
        super().__init__(f"{service} refused the call: {status} {slug}")
        self.service, self.status, self.slug = service, status, slug


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer below 500: status, JSON body, and for problems their slug (`insufficient-stock`)."""

    status: int
    body: Mapping[str, Any]

    @property
    def slug(self) -> str:
        """The last part of the problem's type; empty for a success."""
        return str(self.body.get("type", "")).rpartition("/")[2]


class ServiceClient:
    """Calls one service, as one attempt: no policy is applied here."""

    def __init__(self, service: str, base_url: str, signer: TokenSigner, session: aiohttp.ClientSession) -> None:
        self._service, self._base, self._signer, self._session = service, base_url.rstrip("/"), signer, session

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, new: bool = False) -> Answer:
        """One request.

        new: it is for an order that is not begun yet, so it may be shed before those under way
        Raises `UpstreamUnavailable`, `UpstreamUnreachable`.
        """
        content = None if body is None else orjson.dumps(body)
        headers = self._headers(new=new)
        try:
            async with self._session.request(
                method, self._base + path, data=content, headers=headers, allow_redirects=False
            ) as response:
                status, retry_after = response.status, response.headers.get("retry-after")
                answer = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamUnreachable(self._service, f"{type(error).__name__}: {error}") from error
        if status >= 500 or status in _RETRIABLE:
            raise UpstreamUnavailable(self._service, status, _retry_after(retry_after))
        try:
            return Answer(status, orjson.loads(answer))
        except orjson.JSONDecodeError:
            raise UpstreamUnavailable(self._service, status) from None

    def refused(self, answer: Answer) -> UpstreamRefused:
        """The error for an answer that the caller has no meaning for."""
        return UpstreamRefused(self._service, answer.status, answer.slug)

    def _headers(self, *, new: bool) -> dict[str, str]:
        headers = {
            "authorization": f"Bearer {self._signer.token()}",
            "content-type": "application/json",
            "x-priority": "new" if new else "running",
        }
        left = remaining()
        if left is not None:
            headers[DEADLINE_HEADER] = format_deadline(left)
        attempt = current_attempt()
        if attempt > 1:
            headers["x-retry-attempt"] = str(attempt - 1)
        propagate.inject(headers)
        return headers


def http_session(max_connections: int) -> aiohttp.ClientSession:
    """The connections to all services. aiohttp without httpx in front: a call costs a third of the CPU time."""
    connector = aiohttp.TCPConnector(limit=max_connections, keepalive_timeout=30, ssl=_no_tls())
    timeout = aiohttp.ClientTimeout(sock_connect=_CONNECT_SECONDS, sock_read=_BACKSTOP_SECONDS)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout)


def _no_tls() -> ssl.SSLContext:
    # encryption between services is the mesh's: an https address fails here instead of being trusted by accident, and
    # some 5 MB of certificate authorities stay on disk
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _retry_after(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except ValueError:
        return -1.0
