"""How the order service speaks to others: one small HTTP client, and the errors that the resilience policies look at.

What an answer means for an order is for the clients built on it (`payment_client.py`, `inventory_client.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpx
import orjson
from opentelemetry import propagate

from services.order.call_metrics import EdgeMetrics
from shared.chassis.auth import TokenSigner
from shared.resilience import DEADLINE_HEADER, current_attempt, format_deadline, remaining
from shared.resilience.http import ATTEMPT_HEADER, retry_after

_CONNECT_SECONDS = 1.0
_BACKSTOP_SECONDS = 10.0
"""The policies' timeouts are shorter; this one holds where a policy's timeout is switched off."""

_TIMEOUT = httpx.Timeout(_BACKSTOP_SECONDS, connect=_CONNECT_SECONDS).as_dict()

_ADDRESSES = 64

_RETRIABLE = frozenset((408, 425, 429))


class UpstreamUnavailable(Exception):
    """The other side could not do it now: 5xx, 408, 425 or 429, or an answer that cannot be read.

    retry_after: what it asked for, in seconds; negative when what it asked for cannot be read (then: do not retry)
    """

    def __init__(self, service: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(f"{service} answered {status}")
        self.service, self.status, self.retry_after = service, status, retry_after
        self.gave_up = status == 504  # the time that it was given was over


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

    def __init__(
        self,
        service: str,
        base_url: str,
        signer: TokenSigner,
        transport: httpx.AsyncBaseTransport,
        metrics: EdgeMetrics,
    ) -> None:
        self._service, self._base, self._signer, self._transport = service, base_url.rstrip("/"), signer, transport
        self._metrics = metrics
        # an address is not parsed anew for each call; those that name an order pass through
        self._url = lru_cache(maxsize=_ADDRESSES)(lambda path: httpx.URL(self._base + path))

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, new: bool = False) -> Answer:
        """One request.

        new: it is for an order that is not begun yet, so it may be shed before those under way
        Raises `UpstreamUnavailable`, `httpx.TransportError`.
        """
        content = b"" if body is None else orjson.dumps(body)
        headers, extensions = self._headers(new=new), {"timeout": _TIMEOUT}
        request = httpx.Request(method, self._url(path), content=content, headers=headers, extensions=extensions)
        with self._metrics.timed():
            return await self._answer(request)

    async def _answer(self, request: httpx.Request) -> Answer:
        # not through a client: redirects, cookies and hooks are not for calls between services, and double the cost
        response = await self._transport.handle_async_request(request)
        try:
            await response.aread()
        finally:
            await response.aclose()
        if response.status_code >= 500 or response.status_code in _RETRIABLE:
            raise UpstreamUnavailable(self._service, response.status_code, retry_after(response.headers))
        try:
            return Answer(response.status_code, orjson.loads(response.content))
        except orjson.JSONDecodeError:
            raise UpstreamUnavailable(self._service, response.status_code) from None

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
            headers[ATTEMPT_HEADER] = str(attempt - 1)
        propagate.inject(headers)
        return headers
