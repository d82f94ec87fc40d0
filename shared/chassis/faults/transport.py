"""httpx below its resilience: calls that meet a broken network, for timeouts, breakers and retries to deal with."""

from collections.abc import Coroutine
from typing import Any

import httpx

from shared.chassis.faults.active import Active
from shared.chassis.faults.network import NetworkFaults
from shared.chassis.faults.requests import NetworkFault


class BreakableTransport(httpx.AsyncBaseTransport):
    """`inner`, on the way to `service`. Closing it closes `inner`.

    nameless: takes the calls whose name is not found (`names.py`); None where the service is called by its address
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        service: str,
        faults: NetworkFaults,
        nameless: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._inner, self._service, self._faults, self._nameless = inner, service, faults, nameless
        faults.called[service] = nameless is not None

    def handle_async_request(self, request: httpx.Request) -> Coroutine[Any, Any, httpx.Response]:
        """Send one request. Raises `httpx.ConnectError` and `httpx.ReadTimeout` as a network does."""
        if self._faults.active and (fault := self._faults.striking(self._service)) is not None:
            return self._suffer(fault, request)
        return self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()

    async def _suffer(self, fault: Active[NetworkFault], request: httpx.Request) -> httpx.Response:
        fault.strike()
        host, error = request.url.host, fault.request.error
        if error == "refused":
            cause = ConnectionRefusedError(111, f"Connect call failed to {host!r}")
            raise httpx.ConnectError(str(cause), request=request) from cause
        if error == "dns" and self._nameless is not None:
            return await self._nameless.handle_async_request(request)
        limit = request.extensions.get("timeout", {}).get("read")
        if await fault.pause(fault.left if limit is None else limit):
            return await self._inner.handle_async_request(request)  # the network is back: what was sent arrives late
        raise httpx.ReadTimeout(f"nothing came from {host!r}", request=request)
