"""Sends orders as cheaply as Python can, so that on a small machine the stacks have the cores for themselves.

A request is written as prepared bytes; of an answer only the status and the length are read. `closed_loop` keeps so
many customers busy, each waiting for its answer; `open_loop` sends at a rate, whether answers come or not.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import uvloop

T = TypeVar("T")

BODY = (
    b'{"customer":"ada","currency":"EUR","items":[{"sku":"mug-enamel","quantity":1}],'
    b'"payment_method":{"type":"card","number":"4242424242424242"}}'
)
NO_ANSWER = 0
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """One order: when it was sent (seconds since the run began), what it took, the answer's status or NO_ANSWER."""

    at: float
    seconds: float
    status: int


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a load, on uvloop."""
    return uvloop.run(work)


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._read = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment] - uvloop's is no subclass of asyncio.Transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._transport = None
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the server hung up"))

    @property
    def is_open(self) -> bool:
        """Another request can be sent."""
        return self._transport is not None

    async def ask(self, request: bytes) -> int:
        """Send a request and return the status of its answer. Raises ConnectionError."""
        if self._transport is None:
            raise ConnectionResetError("closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Collect an answer; when it is complete, hand its status over."""
        self._read += data
        end = self._read.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = bytes(self._read[:end]).lower()
        at = head.find(b"content-length:")
        if at < 0:
            self.close()  # no answer of ours or of the peer's is without a length
            return
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._read) < end + 4 + length:
            return
        status = int(head[9:12])
        self._read.clear()
        if b"connection: close" in head:
            self.close()
        if not self._answer.done():
            self._answer.set_result(status)


class Customers:
    """Places orders at one address over connections that are kept and used again."""

    def __init__(self, url: str, timeout: float = 15.0) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._timeout = timeout
        self._free: list[Connection] = []
        self._head = (
            f"POST /orders HTTP/1.1\r\nhost: {self._host}:{self._port}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(BODY)}\r\nidempotency-key: "
        ).encode()

    async def place(self, key: str) -> int:
        """Place one order; the status, NO_ANSWER when there is none in time."""
        connection = None
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._connected()
                status = await connection.ask(self._head + key.encode() + b"\r\n\r\n" + BODY)
        except (OSError, TimeoutError):
            if connection is not None:
                connection.close()
            return NO_ANSWER
        self._free.append(connection)
        return status

    def close(self) -> None:
        """Hang up."""
        for connection in self._free:
            connection.close()

    async def _connected(self) -> Connection:
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                return connection
        _, made = await asyncio.get_running_loop().create_connection(Connection, self._host, self._port)
        return made


async def closed_loop(url: str, customers: int, seconds: float) -> list[Sample]:
    """So many customers at once, each placing its next order when it has the answer."""
    placing, samples, run_id = Customers(url), [], uuid.uuid4().hex
    began = time.perf_counter()

    async def customer(number: int) -> None:
        turn = 0
        while (at := time.perf_counter() - began) < seconds:
            status = await placing.place(f"{run_id}-{number}-{turn}")
            samples.append(Sample(at, time.perf_counter() - began - at, status))
            turn += 1
            if status == NO_ANSWER:
                await asyncio.sleep(_PAUSE_SECONDS)  # who is refused at once must not ask as fast as it can

    await asyncio.gather(*(customer(number) for number in range(customers)))
    placing.close()
    return samples


async def open_loop(
    url: str, rate: Callable[[float], float], seconds: float, *, patience: float = 15.0, most: int = 2_000
) -> list[Sample]:
    """Orders at `rate(seconds since the beginning)` a second; beyond `most` that wait, NO_ANSWER instead.

    patience: seconds until a customer gives up
    """
    placing, samples, run_id = Customers(url, patience), [], uuid.uuid4().hex
    began, under_way, number = time.perf_counter(), set(), 0

    async def order(at: float, number: int) -> None:
        status = await placing.place(f"{run_id}-{number}")
        samples.append(Sample(at, time.perf_counter() - began - at, status))

    due = 0.0
    while due < seconds:
        await asyncio.sleep(due - (time.perf_counter() - began))
        if len(under_way) < most:
            task = asyncio.create_task(order(due, number))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        else:
            samples.append(Sample(due, 0.0, NO_ANSWER))
        number += 1
        due += 1 / rate(due)
    if under_way:
        await asyncio.wait(under_way)
    placing.close()
    return samples
