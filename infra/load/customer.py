"""One customer's client: it repeats what may be repeated, with the same key, when and as long as it is asked to."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import aiohttp
import httpx

_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0
_ASKS_FOR_PATIENCE = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Answer:
    """How one order ended for its customer. `status` is 0 when nobody answered; then `meaning` says what happened."""

    status: int
    meaning: str
    attempts: int
    order_id: str = ""
    state: str = ""


class Customer:
    """Places orders. `attempts` counts the first one; `timeout` is seconds for each; `headers` go with each of them."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        random: Random,
        *,
        attempts: int = 4,
        timeout: float = 15.0,
        headers: Mapping[str, str] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._url = f"{url}/orders"
        self._random = random
        self._attempts = attempts
        self._timeout = timeout
        self._headers = dict(headers or {})
        self._sleep = sleep

    async def place(self, key: str, order: dict[str, Any]) -> Answer:
        """Place one order under one key and return how it ended."""
        attempt = 1
        while True:
            headers = self._headers | {"Idempotency-Key": key}
            headers |= {"x-retry-attempt": str(attempt - 1)} if attempt > 1 else {}
            wait: float | None
            try:
                response = await self._client.post(self._url, json=order, headers=headers, timeout=self._timeout)
            except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
                # Whether it was taken is not known; under the same key that does not matter.
                answer, wait = Answer(0, _unanswered(error), attempt), self._backoff(attempt)
            else:
                answer, wait = _read(response, attempt), self._wait_asked(response, attempt)
            if wait is None or attempt >= self._attempts:
                return answer
            await self._sleep(wait)
            attempt += 1

    def _wait_asked(self, response: httpx.Response, attempt: int) -> float | None:
        """Seconds until the next attempt; None = this answer is final."""
        asked = response.headers.get("retry-after")
        if response.status_code not in _ASKS_FOR_PATIENCE and not (response.status_code == 409 and asked):
            return None
        if asked is None:
            return self._backoff(attempt)
        try:
            seconds = float(asked)
        except ValueError:
            return None  # a push-back that cannot be read means: do not retry
        if not math.isfinite(seconds) or not 0 <= seconds <= _LONGEST_WAIT:
            return None
        # Everybody was told the same second: spread over a part of the next.
        return seconds + self._random.uniform(0, 0.25)

    def _backoff(self, attempt: int) -> float:
        longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt)
        return self._random.uniform(longest / 2, longest)


def _read(response: httpx.Response, attempt: int) -> Answer:
    try:
        body = response.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    problem = str(body.get("type", "")).rpartition("/")[2]
    state = str(body.get("state", ""))
    meaning = problem or state.lower().replace("_", "-") or f"http-{response.status_code}"
    return Answer(response.status_code, meaning, attempt, str(body.get("id", "")), state)


def _unanswered(error: Exception) -> str:
    # httpx-aiohttp calls every failed connection a ConnectTimeout; what it was is the cause.
    cause = error.__cause__ or error
    if isinstance(cause, httpx.ConnectError | aiohttp.ClientConnectorError):
        return "not-reachable"
    if isinstance(cause, httpx.TimeoutException | TimeoutError):
        return "no-answer-in-time"
    return "connection-lost"
