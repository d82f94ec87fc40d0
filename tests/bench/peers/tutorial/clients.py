"""How the tutorial's order service calls the others: `@retry` around a breaker around `wait_for`."""

import asyncio
from datetime import timedelta
from typing import Any

import aiobreaker
import httpx
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_exponential

CALL_SECONDS = 5.0

payment_breaker = aiobreaker.CircuitBreaker(fail_max=5, timeout_duration=timedelta(seconds=10), name="payment")
inventory_breaker = aiobreaker.CircuitBreaker(fail_max=5, timeout_duration=timedelta(seconds=10), name="inventory")

UNAVAILABLE = (httpx.HTTPError, TimeoutError, aiobreaker.CircuitBreakerError)


class Refused(Exception):
    """The other side said no (4xx): the call went well, and its answer is final."""

    def __init__(self, status: int) -> None:
        super().__init__(f"refused: {status}")
        self.status = status


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, (httpx.HTTPError, TimeoutError))


_retry = retry(
    stop=stop_after_attempt(3),
    wait=wait_exponential(multiplier=1, max=10),
    retry=retry_if_exception(_is_transient),
    reraise=True,
)


class Clients:
    """One HTTP client for all calls of the process."""

    def __init__(self, payment_url: str, inventory_url: str) -> None:
        self._http = httpx.AsyncClient(timeout=CALL_SECONDS)
        self._payment, self._inventory = payment_url, inventory_url

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    @_retry
    async def payment(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Call the payment service. Raises `Refused`, or one of `UNAVAILABLE`."""
        return self._accepted(await payment_breaker.call_async(self._post, self._payment + path, body))

    @_retry
    async def inventory(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call the inventory service. Raises as `payment` does."""
        return self._accepted(await inventory_breaker.call_async(self._post, self._inventory + path, body))

    async def _post(self, url: str, body: dict[str, Any] | None) -> httpx.Response:
        response = await asyncio.wait_for(self._http.post(url, json=body), CALL_SECONDS)
        if response.status_code >= 500:
            response.raise_for_status()
        return response

    @staticmethod
    def _accepted(response: httpx.Response) -> dict[str, Any]:
        if response.status_code >= 400:
            raise Refused(response.status_code)
        answer: dict[str, Any] = response.json()
        return answer
