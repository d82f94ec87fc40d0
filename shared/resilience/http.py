"""httpx with a pipeline inside: an ordinary client becomes a resilient one.

    transport = ResilientTransport(registry.pipeline("stock"), httpx.AsyncHTTPTransport())
    async with httpx.AsyncClient(transport=transport, base_url=url) as client:
        response = await client.get("/products")

An answer that `is_failure` (5xx and 429, unless told otherwise) counts as one, and yet the caller receives it, after
the last attempt, with its body. What the pipeline itself raises (`CallNotPermitted`, `AttemptTimeout`, ...) is raised.

Only requests whose method is safe (RFC 9110) or that carry an Idempotency-Key are repeated, if their body is at hand as
bytes.

The timeout, the breaker and the retry judge an answer by its headers; one of a known length up to `read_up_to` is read
first, so they judge its body as well. The slot of the bulkhead is held until the body has been read or closed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime

import httpx

from shared.resilience.bulkhead import Bulkhead
from shared.resilience.deadline import DEADLINE_HEADER, format_deadline, remaining
from shared.resilience.invocation import current_attempt
from shared.resilience.pipeline import Pipeline

ATTEMPT_HEADER = "x-retry-attempt"
"""How many attempts came before this one; absent from the first."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110, section 9.2.1."""

_READ_UP_TO = 64 * 1024
_CLOSE_SECONDS = 1.0


class FailedResponse(httpx.HTTPStatusError):
    """An answer that says that the server could not do it now. Listed as `httpx.HTTPStatusError` in a configuration.

    retry_after: seconds that the server asks to wait; negative: it said something that cannot be read; None: nothing
    """

    def __init__(self, response: httpx.Response, request: httpx.Request, retry_after: float | None) -> None:
        super().__init__(f"{request.url.host} answered {response.status_code}", request=request, response=response)
        self.retry_after = retry_after
        self.gave_up = response.status_code == 504  # the time that it was given was over


def is_failure(response: httpx.Response) -> bool:
    """5xx, and 429 Too Many Requests."""
    return response.status_code >= 500 or response.status_code == 429


def retry_after(headers: httpx.Headers, now: Callable[[], float] = time.time) -> float | None:
    """Seconds in a Retry-After header (RFC 9110, section 10.2.3); None without one, -1 for one that makes no sense.

    A date is compared with the answer's own Date, so that a clock which differs from the server's does no harm.

    now: seconds since the epoch, for an answer without a Date
    """
    value = headers.get("retry-after")
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        # A number too large for a float is an infinite wait, and that is a refusal too.
        return float(value) if len(value) < 10 else -1.0
    until, sent = _instant(value), _instant(headers.get("date", ""))
    if until is None:
        return -1.0
    return max(0.0, until - (now() if sent is None else sent))


class ResilientTransport(httpx.AsyncBaseTransport):
    """`inner` behind `pipeline`. Closing it closes `inner`.

    is_failure: whether an answer counts as a failure; what it raises is raised to the caller
    read_up_to: bytes; a longer answer, or one of unknown length, is judged by its headers alone
    now:        seconds since the epoch, only for a Retry-After date in an answer without a Date
    """

    def __init__(
        self,
        pipeline: Pipeline,
        inner: httpx.AsyncBaseTransport,
        *,
        is_failure: Callable[[httpx.Response], bool] = is_failure,
        read_up_to: int = _READ_UP_TO,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._pipeline = pipeline
        self._inner = inner
        self._is_failure = is_failure
        self._read_up_to = read_up_to
        self._now = now

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, as often as the pipeline says, and return the answer to the last attempt."""
        exchange = _Exchange()
        try:
            try:
                response = await self._pipeline.call(
                    self._attempt, request, exchange, idempotent=is_repeatable(request)
                )
            except FailedResponse as failed:
                response = failed.response
            exchange.hand_out(response)
            return response
        finally:
            await exchange.discard()

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()

    async def _attempt(self, request: httpx.Request, exchange: "_Exchange") -> httpx.Response:
        await exchange.begin()
        try:
            response = await self._inner.handle_async_request(_for_this_attempt(request))
            exchange.opened(response)
            whole = _length(response) <= self._read_up_to
            if whole:
                await _read(response)
            if self._is_failure(response):
                raise FailedResponse(response, request, retry_after(response.headers, self._now))
            if not whole and self._pipeline.layers.get("bulkhead"):
                _hold_slot(response, self._pipeline.bulkhead)
            return response
        finally:
            exchange.end()


def is_repeatable(request: httpx.Request) -> bool:
    """Whether the request may be sent more than once, and can be."""
    # Only bytes can be sent again: whatever else a body is made of may have been used up.
    replayable = isinstance(request.stream, httpx.ByteStream)
    return replayable and (request.method in SAFE_METHODS or bool(request.headers.get("idempotency-key")))


class _Exchange:
    """The answers to the attempts of one request; all but the one that is handed out are closed."""

    def __init__(self) -> None:
        self._open: list[httpx.Response] = []
        self._running = 0

    def opened(self, response: httpx.Response) -> None:
        self._open.append(response)

    def hand_out(self, response: httpx.Response) -> None:
        self._open = [other for other in self._open if other is not response]

    async def begin(self) -> None:
        # An attempt that begins beside another is its hedge, and either answer may still be wanted. One that begins
        # alone is a retry: what came before is discarded, and its connection is better used for this one.
        if self._running == 0:
            await self.discard()
        self._running += 1

    def end(self) -> None:
        self._running -= 1

    async def discard(self) -> None:
        discarded, self._open = self._open, []
        for response in discarded:
            if isinstance(response.stream, httpx.AsyncByteStream):
                with suppress(httpx.HTTPError, OSError, TimeoutError):
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await response.stream.aclose()


class _HeldStream(httpx.AsyncByteStream):
    """A body that occupies a slot of the bulkhead until it has been read, has broken off, or is closed or forgotten."""

    def __init__(self, inner: httpx.AsyncByteStream, release: Callable[[], None]) -> None:
        self._inner = inner
        self._release: Callable[[], None] | None = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except GeneratorExit:
            # Reading stopped half-way. The connection stays taken until somebody closes it, and so does the slot.
            raise
        except BaseException:
            self._let_go()
            raise
        self._let_go()

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()

    def __del__(self) -> None:
        self._let_go()


def _hold_slot(response: httpx.Response, bulkhead: Bulkhead | None) -> None:
    if bulkhead is not None and isinstance(response.stream, httpx.AsyncByteStream):
        response.stream = _HeldStream(response.stream, bulkhead.keep())


def _for_this_attempt(request: httpx.Request) -> httpx.Request:
    """A copy with this attempt's headers; hedges of one request are under way at the same time."""
    sent = httpx.Request(
        request.method, request.url, headers=request.headers, stream=request.stream, extensions=request.extensions
    )
    if isinstance(request.stream, httpx.ByteStream):
        sent.read()
    left = remaining()
    if left is not None:
        sent.headers[DEADLINE_HEADER] = format_deadline(left)
    attempt = current_attempt()
    if attempt > 1:
        sent.headers[ATTEMPT_HEADER] = str(attempt - 1)
    return sent


def _length(response: httpx.Response) -> float:
    value = response.headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 16 else float("inf")


async def _read(response: httpx.Response) -> None:
    """Take the body in, as it came over the wire: decoding it is the client's."""
    stream = response.stream
    if isinstance(stream, httpx.AsyncByteStream):
        body = b"".join([chunk async for chunk in stream])
        await stream.aclose()
        response.stream = httpx.ByteStream(body)


def _instant(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, IndexError, OverflowError):
        return None
