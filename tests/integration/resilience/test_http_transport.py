"""A plain httpx client behind a pipeline, over both transports, against a real server."""

import asyncio
import gc
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from httpx_aiohttp import AiohttpTransport

from shared.resilience import (
    AttemptTimeout,
    BulkheadConfig,
    BulkheadFull,
    CallNotPermitted,
    CircuitBreakerConfig,
    DeadlineExceeded,
    HedgeConfig,
    Pipeline,
    RetryConfig,
    State,
    deadline,
)
from shared.resilience.http import ResilientTransport, retry_after
from tests.integration.resilience.servers import Reply, Server

RETRY = RetryConfig(max_attempts=3, wait_duration=0.001, jitter="none")


@pytest.fixture(params=["httpx", "aiohttp"])
def inner(request: pytest.FixtureRequest) -> Callable[[], httpx.AsyncBaseTransport]:
    return httpx.AsyncHTTPTransport if request.param == "httpx" else AiohttpTransport


@asynccontextmanager
async def guarded(
    make: Callable[[], httpx.AsyncBaseTransport], server: Server, options: dict[str, Any] | None = None, **layers: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Pipeline]]:
    pipeline = Pipeline("stock", **layers)
    transport = ResilientTransport(pipeline, make(), **(options or {}))
    async with httpx.AsyncClient(transport=transport, base_url=server.url, timeout=10) as client:
        yield client, pipeline


def free_slots(pipeline: Pipeline) -> int:
    assert pipeline.bulkhead is not None
    return pipeline.bulkhead.snapshot().available


async def test_a_plain_client_gets_its_answer_after_a_retry(inner: Any) -> None:
    async with (
        Server(Reply(503), Reply(200, body=b"fine")) as server,
        guarded(inner, server, retry=RETRY) as (client, _),
    ):
        response = await client.get("/", params={"q": "1"})
    assert (response.status_code, response.text) == (200, "fine")
    assert [asked.path for asked in server.asked] == ["/?q=1", "/?q=1"]


async def test_the_caller_receives_the_failing_answer_with_its_body_after_the_last_attempt(inner: Any) -> None:
    async with Server(Reply(503, body=b"no")) as server, guarded(inner, server, retry=RETRY) as (client, _):
        response = await client.get("/")
    assert (response.status_code, response.text, len(server.asked)) == (503, "no", 3)


async def test_the_failing_answer_of_no_announced_length_can_be_read_as_well(inner: Any) -> None:
    reply = Reply(500, chunked=[b"a", b"b"])
    layers: dict[str, Any] = {"retry": RETRY, "bulkhead": BulkheadConfig(max_concurrent_calls=1)}
    async with Server(reply) as server, guarded(inner, server, **layers) as (client, pipeline):
        response = await client.get("/")
        assert (response.text, len(server.asked), free_slots(pipeline)) == ("ab", 3, 1)


@pytest.mark.parametrize(("status", "failed"), [(500, 1), (429, 1), (503, 1), (404, 0), (200, 0), (302, 0)])
async def test_5xx_and_429_are_failures_for_the_breaker(inner: Any, status: int, failed: int) -> None:
    async with (
        Server(Reply(status)) as server,
        guarded(inner, server, circuit_breaker=CircuitBreakerConfig()) as (client, pipeline),
    ):
        assert (await client.get("/")).status_code == status
    assert pipeline.circuit_breaker is not None
    assert pipeline.circuit_breaker.snapshot().failed_calls == failed


async def test_what_a_failure_is_can_be_configured(inner: Any) -> None:
    options = {"is_failure": lambda response: response.status_code == 404}
    async with Server(Reply(404)) as server, guarded(inner, server, options, retry=RETRY) as (client, _):
        assert (await client.get("/")).status_code == 404
    assert len(server.asked) == 3


async def test_an_open_breaker_sends_nothing(inner: Any) -> None:
    config = CircuitBreakerConfig(sliding_window_size=2, minimum_number_of_calls=2)
    async with Server(Reply(500)) as server, guarded(inner, server, circuit_breaker=config) as (client, pipeline):
        await client.get("/")
        await client.get("/")
        with pytest.raises(CallNotPermitted):
            await client.get("/")
        assert pipeline.circuit_breaker is not None
        assert (pipeline.circuit_breaker.state, len(server.asked)) == (State.OPEN, 2)


@pytest.mark.parametrize(
    ("method", "headers", "sent"),
    [
        ("GET", {}, 2),
        ("HEAD", {}, 2),
        ("OPTIONS", {}, 2),
        ("POST", {}, 1),
        ("PUT", {}, 1),
        ("DELETE", {}, 1),
        ("POST", {"Idempotency-Key": "one"}, 2),
        ("PATCH", {"idempotency-key": "one"}, 2),
        ("POST", {"Idempotency-Key": ""}, 1),
    ],
)
async def test_only_safe_methods_and_keyed_requests_are_sent_again(
    inner: Any, method: str, headers: dict[str, str], sent: int
) -> None:
    async with (
        Server(Reply(503, body=b""), Reply(body=b"")) as server,
        guarded(inner, server, retry=RETRY) as (client, _),
    ):
        await client.request(method, "/", headers=headers)
    assert len(server.asked) == sent


async def test_a_body_of_bytes_is_sent_again_whole(inner: Any) -> None:
    async with Server(Reply(503), Reply()) as server, guarded(inner, server, retry=RETRY) as (client, _):
        await client.post("/", json={"sku": "bell"}, headers={"Idempotency-Key": "one"})
    assert [asked.body for asked in server.asked] == [b'{"sku":"bell"}'] * 2


async def test_a_body_that_is_a_stream_is_sent_once(inner: Any) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async with Server(Reply(503)) as server, guarded(inner, server, retry=RETRY) as (client, _):
        response = await client.post("/", content=pieces(), headers={"Idempotency-Key": "one"})
    assert (response.status_code, [asked.body for asked in server.asked]) == (503, [b"onetwo"])


async def test_each_attempt_says_which_it_is_and_how_long_it_is_waited_for(inner: Any) -> None:
    async with (
        Server(Reply(503), Reply(503), Reply()) as server,
        guarded(inner, server, retry=RETRY, timeout=2.0, deadline=5.0) as (client, _),
    ):
        request = client.build_request("GET", "/")
        await client.send(request)
    assert [asked.headers.get("x-retry-attempt") for asked in server.asked] == [None, "1", "2"]
    assert all(1000 < int(asked.headers["x-deadline-ms"]) <= 2000 for asked in server.asked)
    # What the caller holds is as it was.
    assert "x-deadline-ms" not in request.headers


async def test_without_a_deadline_no_header_is_made_up(inner: Any) -> None:
    async with Server() as server, guarded(inner, server) as (client, _):
        await client.get("/")
    assert "x-deadline-ms" not in server.asked[0].headers


async def test_retry_after_sets_the_wait(inner: Any) -> None:
    waits: list[float] = []
    async with (
        Server(Reply(429, {"retry-after": "0"}), Reply(503, {"retry-after": "1"}), Reply()) as server,
        guarded(inner, server, retry=RetryConfig(wait_duration=0.001, jitter="none", max_wait=0.002)) as (
            client,
            pipeline,
        ),
    ):
        pipeline.subscribe(lambda event: waits.append(getattr(event, "wait", -1)))
        assert (await client.get("/")).status_code == 200
    assert [wait for wait in waits if wait >= 0] == [0.001, 1.0]


@pytest.mark.parametrize("value", ["-1", "soon", "", "1e400", "99999999999999999999", "12"])
async def test_a_push_back_that_is_negative_unreadable_or_too_long_ends_the_retrying(inner: Any, value: str) -> None:
    async with Server(Reply(503, {"retry-after": value})) as server, guarded(inner, server, retry=RETRY) as (client, _):
        assert (await client.get("/")).status_code == 503
    assert len(server.asked) == 1


def test_a_retry_after_date_is_compared_with_the_answers_own_date() -> None:
    headers = httpx.Headers({"retry-after": "Wed, 21 Oct 2015 07:28:03 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"})
    assert retry_after(headers, lambda: 0.0) == 3
    del headers["date"]
    assert retry_after(headers, lambda: 1_445_412_470.0) == 13
    # A date that has passed means: now.
    assert retry_after(headers, lambda: 1_545_412_470.0) == 0
    assert retry_after(httpx.Headers({"retry-after": "Wed, 99 Oct 2015 07:28:03 GMT"})) == -1
    assert retry_after(httpx.Headers()) is None


async def test_a_timeout_covers_the_time_until_the_headers(inner: Any) -> None:
    async with Server(Reply(hold="headers")) as server, guarded(inner, server, timeout=0.05) as (client, _):
        with pytest.raises(AttemptTimeout):
            await client.get("/")
        async with asyncio.timeout(30):
            await server.hung_up.wait()


async def test_the_callers_deadline_ends_the_attempt(inner: Any) -> None:
    async with Server(Reply(hold="headers")) as server, guarded(inner, server) as (client, _):
        with deadline(0.05), pytest.raises(DeadlineExceeded):
            await client.get("/")


@pytest.mark.parametrize(("given", "state"), [(4, State.CLOSED), (6, State.OPEN)])
async def test_a_504_to_a_caller_who_gave_little_time_opens_no_breaker_for_the_others(
    inner: Any, given: float, state: State
) -> None:
    breaker = CircuitBreakerConfig(sliding_window_size=2, minimum_number_of_calls=2)
    async with (
        Server(Reply(504)) as server,
        guarded(inner, server, timeout=10, circuit_breaker=breaker) as (client, pipeline),
    ):
        for _ in range(2):
            with deadline(given), suppress(DeadlineExceeded):
                await client.get("/")
        assert len(server.asked) == 2
    assert pipeline.circuit_breaker is not None
    assert pipeline.circuit_breaker.state is state


async def test_a_short_body_that_breaks_off_is_a_failed_attempt(inner: Any) -> None:
    async with (
        Server(Reply(body=b"a long answer", cut=True), Reply(body=b"whole")) as server,
        guarded(inner, server, retry=RETRY, circuit_breaker=CircuitBreakerConfig()) as (client, pipeline),
    ):
        assert (await client.get("/")).text == "whole"
    assert pipeline.circuit_breaker is not None
    assert pipeline.circuit_breaker.snapshot().failed_calls == 1


async def test_a_stream_is_not_bound_by_the_timeout_once_its_headers_are_there(inner: Any) -> None:
    reply = Reply(chunked=[b"a", b"b"], hold="body")
    async with Server(reply) as server, guarded(inner, server, timeout=0.2) as (client, pipeline):
        async with client.stream("GET", "/") as response:
            chunks = response.aiter_raw()
            assert await anext(chunks) == b"a"
            await asyncio.sleep(0.3)  # past the timeout, which is what this is about
            server.go_on.set()
            assert [chunk async for chunk in chunks] == [b"b"]
        assert pipeline.timeout.snapshot().successful == 1


STREAM = Reply(chunked=[b"a", b"b", b"c"], hold="body")


async def test_a_slot_is_held_until_the_body_has_been_read(inner: Any) -> None:
    async with (
        Server(STREAM) as server,
        guarded(inner, server, bulkhead=BulkheadConfig(max_concurrent_calls=1)) as (
            client,
            pipeline,
        ),
    ):
        async with client.stream("GET", "/") as response:
            assert free_slots(pipeline) == 0
            with pytest.raises(BulkheadFull):
                await client.get("/")
            server.go_on.set()
            assert await response.aread() == b"abc"
            assert free_slots(pipeline) == 1
        assert free_slots(pipeline) == 1
        assert (await client.get("/")).text == "abc"
        assert free_slots(pipeline) == 1


async def test_a_slot_comes_back_once_when_the_reader_stops_half_way(inner: Any) -> None:
    async with (
        Server(STREAM) as server,
        guarded(inner, server, bulkhead=BulkheadConfig(max_concurrent_calls=2)) as (
            client,
            pipeline,
        ),
    ):
        async with client.stream("GET", "/") as response:
            async for _ in response.aiter_raw():
                break
            assert free_slots(pipeline) == 1
        assert free_slots(pipeline) == 2
        await response.aclose()
        assert free_slots(pipeline) == 2


async def test_a_slot_comes_back_once_when_the_reader_closes_without_reading(inner: Any) -> None:
    async with (
        Server(STREAM) as server,
        guarded(inner, server, bulkhead=BulkheadConfig(max_concurrent_calls=2)) as (
            client,
            pipeline,
        ),
    ):
        response = await client.send(client.build_request("GET", "/"), stream=True)
        assert free_slots(pipeline) == 1
        await response.aclose()
        await response.aclose()
        assert free_slots(pipeline) == 2
        async with asyncio.timeout(30):
            await server.hung_up.wait()


async def test_a_slot_comes_back_once_when_the_reader_is_cancelled(inner: Any) -> None:
    async with (
        Server(STREAM) as server,
        guarded(inner, server, bulkhead=BulkheadConfig(max_concurrent_calls=2)) as (
            client,
            pipeline,
        ),
    ):
        begun = asyncio.Event()

        async def read() -> None:
            async with client.stream("GET", "/") as response:
                async for _ in response.aiter_raw():
                    begun.set()

        reading = asyncio.create_task(read())
        async with asyncio.timeout(30):
            await begun.wait()
        assert free_slots(pipeline) == 1
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert free_slots(pipeline) == 2


async def test_a_slot_comes_back_when_the_body_breaks_off(inner: Any) -> None:
    reply = Reply(chunked=[b"aaaa", b"b"], cut=True)
    async with (
        Server(reply) as server,
        guarded(inner, server, bulkhead=BulkheadConfig(max_concurrent_calls=1)) as (
            client,
            pipeline,
        ),
    ):
        with pytest.raises(httpx.TransportError):
            await client.get("/")
        assert free_slots(pipeline) == 1


async def test_a_slot_comes_back_when_the_answer_is_forgotten(inner: Any) -> None:
    async with (
        Server(STREAM) as server,
        guarded(inner, server, bulkhead=BulkheadConfig(max_concurrent_calls=1)) as (
            client,
            pipeline,
        ),
    ):
        response: httpx.Response | None = await client.send(client.build_request("GET", "/"), stream=True)
        assert response is not None
        assert free_slots(pipeline) == 0
        # What the connection pool itself still holds is not ours: only the guarded stream is forgotten here.
        response.stream = httpx.ByteStream(b"")
        gc.collect()
        assert free_slots(pipeline) == 1


async def test_the_discarded_answers_of_earlier_attempts_are_closed() -> None:
    class Watched(httpx.AsyncByteStream):
        def __init__(self) -> None:
            self.closed = 0

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"busy"

        async def aclose(self) -> None:
            self.closed += 1

    opened: list[Watched] = []

    class Busy(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            # Nothing of an earlier attempt is open while a later one is under way.
            assert all(stream.closed for stream in opened)
            opened.append(Watched())
            return httpx.Response(503, stream=opened[-1])

    transport = ResilientTransport(Pipeline("stock", retry=RETRY), Busy())
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://stock") as client,
        client.stream("GET", "/") as response,
    ):
        assert [stream.closed for stream in opened] == [1, 1, 0]
        assert await response.aread() == b"busy"
    assert [stream.closed >= 1 for stream in opened] == [True, True, True]


async def test_an_answer_is_closed_when_the_wait_for_a_retry_is_cancelled(inner: Any) -> None:
    async with (
        Server(Reply(503, chunked=[b"a", b"b"], hold="body")) as server,
        guarded(inner, server, retry=RetryConfig(wait_duration=5, jitter="none")) as (client, pipeline),
    ):
        waiting = asyncio.Event()
        pipeline.subscribe(lambda _: waiting.set())
        call = asyncio.create_task(client.get("/"))
        async with asyncio.timeout(30):
            await waiting.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await server.hung_up.wait()


async def test_a_hedge_answers_for_a_slow_first_attempt_and_the_loser_is_dropped(inner: Any) -> None:
    async with (
        Server(Reply(hold="headers"), Reply(body=b"second")) as server,
        guarded(inner, server, hedge=HedgeConfig(delay=0.02), bulkhead=BulkheadConfig(max_concurrent_calls=5)) as (
            client,
            pipeline,
        ),
    ):
        response = await client.get("/")
        assert response.text == "second"
        assert [asked.headers.get("x-retry-attempt") for asked in server.asked] == [None, "1"]
        assert free_slots(pipeline) == 5
        async with asyncio.timeout(30):
            await server.hung_up.wait()


async def test_compressed_answers_are_decoded_once(inner: Any) -> None:
    body = gzip.compress(b"stock" * 100)
    async with (
        Server(Reply(headers={"content-encoding": "gzip"}, body=body)) as server,
        guarded(inner, server) as (client, _),
    ):
        assert (await client.get("/")).text == "stock" * 100


async def test_closing_the_client_closes_the_inner_transport() -> None:
    class Inner(httpx.AsyncBaseTransport):
        closed = False

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200)

        async def aclose(self) -> None:
            self.closed = True

    inner = Inner()
    async with httpx.AsyncClient(transport=ResilientTransport(Pipeline("stock"), inner)) as client:
        assert (await client.get("http://stock/")).status_code == 200
    assert inner.closed
