"""Deadlines at a server's edge, with a hand-moved clock and under a real server."""

import asyncio
import json
import socket
from typing import Any

import httpx
import pytest
import uvicorn

from shared.resilience import DeadlineExceeded, remaining
from shared.resilience.asgi import DeadlineMiddleware, WithinDeadline
from shared.resilience.testing import FakeClock


def scope(*headers: tuple[bytes, bytes], kind: str = "http") -> dict[str, Any]:
    return {"type": kind, "path": "/orders", "headers": list(headers)}


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b""}


class Sent(list[Any]):
    async def __call__(self, message: Any) -> None:
        self.append(message)


class App:
    """Works for `seconds`, then answers; notes how long it was waited for."""

    def __init__(self, clock: FakeClock, seconds: float = 0.0, *, begin_first: bool = False) -> None:
        self.clock, self.seconds, self.begin_first = clock, seconds, begin_first
        self.remaining: float | None = -1.0
        self.cancelled = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.remaining = remaining()
        start = {"type": "http.response.start", "status": 200, "headers": []}
        if self.begin_first:
            await send(start)
        try:
            await self.clock.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if not self.begin_first:
            await send(start)
        await send({"type": "http.response.body", "body": b"done"})


async def test_the_callers_remaining_time_is_the_deadline_of_the_work(clock: FakeClock) -> None:
    app, sent = App(clock), Sent()
    await clock.run(DeadlineMiddleware(app, clock=clock)(scope((b"x-deadline-ms", b"1500")), receive, sent))
    assert (app.remaining, sent[0]["status"]) == (1.5, 200)
    assert remaining() is None


@pytest.mark.parametrize("value", [b"60000", b"soon", b"-5", b"", b"1e3", b"\xff"])
async def test_a_longer_or_unreadable_header_leaves_the_servers_own_limit(clock: FakeClock, value: bytes) -> None:
    app = App(clock)
    await clock.run(DeadlineMiddleware(app, longest=3, clock=clock)(scope((b"x-deadline-ms", value)), receive, Sent()))
    assert app.remaining == 3


async def test_of_two_headers_the_shorter_counts(clock: FakeClock) -> None:
    app = App(clock)
    twice = scope((b"x-deadline-ms", b"2000"), (b"x-deadline-ms", b"500"))
    await clock.run(DeadlineMiddleware(app, clock=clock)(twice, receive, Sent()))
    assert app.remaining == 0.5


async def test_work_that_outlives_its_caller_is_cancelled_and_answered_504(clock: FakeClock) -> None:
    app, sent = App(clock, seconds=2), Sent()
    await clock.run(DeadlineMiddleware(app, clock=clock)(scope((b"x-deadline-ms", b"100")), receive, sent))
    start, body = sent
    assert (start["status"], app.cancelled) == (504, True)
    assert (b"content-type", b"application/problem+json") in start["headers"]
    problem = json.loads(body["body"])
    assert (problem["type"], problem["status"], problem["instance"]) == (
        "/problems/deadline-exceeded",
        504,
        "/orders",
    )


async def test_a_request_whose_time_is_over_is_not_begun(clock: FakeClock) -> None:
    app, sent = App(clock), Sent()
    await clock.run(DeadlineMiddleware(app, clock=clock)(scope((b"x-deadline-ms", b"0")), receive, sent))
    assert (sent[0]["status"], app.remaining) == (504, -1.0)


async def test_an_answer_that_has_begun_is_cut_off_instead(clock: FakeClock) -> None:
    sent = Sent()
    middleware = DeadlineMiddleware(App(clock, seconds=2, begin_first=True), longest=1, clock=clock)
    with pytest.raises(DeadlineExceeded):
        await clock.run(middleware(scope(), receive, sent))
    assert [message["type"] for message in sent] == ["http.response.start"]


async def test_what_the_application_raises_passes_through(clock: FakeClock) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        await clock.run(DeadlineMiddleware(app, clock=clock)(scope(), receive, Sent()))


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_only_requests_have_deadlines(clock: FakeClock, kind: str) -> None:
    app = App(clock, seconds=100)
    await clock.run(DeadlineMiddleware(app, longest=1, clock=clock)({"type": kind}, receive, Sent()))
    assert app.remaining is None


async def test_a_framework_can_answer_in_its_own_way(clock: FakeClock) -> None:
    sent = Sent()
    with pytest.raises(DeadlineExceeded):
        await clock.run(WithinDeadline(App(clock, 2), longest=1, clock=clock)(scope(), receive, sent))
    assert sent == []


async def test_under_a_real_server_the_caller_gets_its_504_in_time() -> None:
    cancelled = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(DeadlineMiddleware(app), lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with httpx.AsyncClient(timeout=5) as client:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            response = await client.get(url, headers={"x-deadline-ms": "50"})
        assert (response.status_code, cancelled.is_set()) == (504, True)
    finally:
        server.should_exit = True
        await serving
