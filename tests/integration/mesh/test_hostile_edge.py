"""Bytes that no client would send, at the edge of a real Envoy; what counts is what the service then really hears."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from tests.fixtures.envoy import Mesh, Replica, running_mesh
from tests.integration.mesh.test_envoy import tight

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = b"Host: shop\r\n"
CLOSE = b"Connection: close\r\n"
SECRET = b"GET /admin/resilience HTTP/1.1\r\nHost: shop\r\n\r\n"


@dataclass(frozen=True)
class Heard:
    """A request as it came over the wire."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each == name]


@dataclass
class Listener(Replica):
    """A service that believes what it reads: bytes that were smuggled in would be a request of their own to it."""

    heard: list[Heard] = field(default_factory=list)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *rest = head[:-4].split("\r\n")
                headers = [(name.lower(), value.strip()) for name, _, value in (each.partition(":") for each in rest)]
                body = await _body(reader, dict(headers))
                if not line.startswith("GET /health/ready "):
                    self.heard.append(Heard(line, headers, body))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        finally:
            self._writers.discard(writer)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


@dataclass
class Edge:
    mesh: Mesh
    order: Listener

    async def send(self, raw: bytes) -> list[int]:
        """What these bytes are answered, on a connection of their own, up to the answer that Envoy calls its last."""
        reader, writer = await asyncio.open_connection(*self.mesh.topology.listen["edge"])
        writer.write(raw)
        statuses: list[int] = []
        async with asyncio.timeout(60):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
                headers = dict(line.split(": ", 1) for line in head[1:] if line)
                await reader.readexactly(int(headers["content-length"]))
                statuses.append(int(head[0].split()[1]))
                if headers.get("connection") == "close":
                    writer.close()
                    return statuses

    def taken(self) -> list[Heard]:
        """What the service has heard since the last time."""
        heard, self.order.heard = self.order.heard, []
        return heard


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def edge() -> AsyncIterator[Edge]:
    order = Listener("order-1")
    async with running_mesh(order=[order]) as mesh:
        yield Edge(mesh, order)


def post(*headers: bytes, body: bytes = b"") -> bytes:
    return b"POST /orders HTTP/1.1\r\n" + HOST + b"".join(each + b"\r\n" for each in headers) + b"\r\n" + body


def get(*headers: bytes, path: bytes = b"/orders") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + CLOSE + b"".join(each + b"\r\n" for each in headers) + b"\r\n"


CHUNKED = b"Transfer-Encoding: chunked"
SMUGGLED: dict[str, bytes] = {
    "length and chunks (CL.TE)": post(b"Content-Length: 4", CHUNKED, body=b"0\r\n\r\n" + SECRET),
    "chunks and length (TE.CL)": post(CHUNKED, b"Content-Length: 4", body=b"2d\r\n" + SECRET + b"\r\n0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 0", b"Content-Length: %d" % len(SECRET), body=SECRET),
    "two lengths in one line": post(b"Content-Length: 0, %d" % len(SECRET), body=SECRET),
    "a length with a sign": post(b"Content-Length: +0", body=SECRET),
    "a length below nothing": post(b"Content-Length: -1", body=SECRET),
    "a length in hex": post(b"Content-Length: 0x0", body=SECRET),
    "a length too long to count": post(b"Content-Length: 99999999999999999999999", body=SECRET),
    "chunks twice (TE.TE)": post(CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n" + SECRET),
    "chunks under another name": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SECRET),
    "chunks that are not last": post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + SECRET),
    "chunks after a tab": post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n" + SECRET),
    "a space before the colon": post(b"Transfer-Encoding : chunked", b"Content-Length: 0", body=b"0\r\n\r\n" + SECRET),
    "a size of a chunk that is no number": post(CHUNKED, body=b"zz\r\n" + SECRET),
    "a size of a chunk that overflows": post(CHUNKED, body=b"1" + b"0" * 16 + b"\r\n" + SECRET),
    "a size of a chunk with a sign": post(CHUNKED, body=b"-1\r\n" + SECRET),
    "a chunk that is longer than it says": post(CHUNKED, body=b"1\r\n" + SECRET),
    "a NUL in a value": get(b"X-Name: a\x00b"),
    "a NUL in a name": get(b"X-\x00Name: a"),
    "a name with a space": get(b"X Name: a"),
    "no name": get(b": a"),
    "no colon": get(b"just words"),
    "no host": b"GET /orders HTTP/1.1\r\n\r\n",
    "a host that is two": b"GET /orders HTTP/1.1\r\nHost: shop, evil\r\nHost: evil\r\n\r\n",
    "an old version": b"GET /orders HTTP/0.9\r\n\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9,
    "a hop that hides where a request comes from": get().replace(CLOSE, b"Connection: close, x-forwarded-for\r\n"),
    "a hop that hides the host": get().replace(CLOSE, b"Connection: close, host\r\n"),
    "too many headers": get(*(b"X-%d: a" % n for n in range(80))),
    "headers too large": get(b"X-Large: " + b"a" * 70_000),
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_a_request_of_which_two_parsers_may_see_different_ends_is_refused_unheard(edge: Edge, name: str) -> None:
    edge.taken()
    statuses = await edge.send(SMUGGLED[name])
    assert len(statuses) == 1, "one answer, and no second request"
    assert 400 <= statuses[0] < 500 or statuses[0] == 501
    assert edge.taken() == []


async def test_what_is_let_through_reaches_the_service_with_one_reading(edge: Edge) -> None:
    """Folded lines, bare line feeds and chunk extensions are legal or nearly so: whatever comes out is unequivocal."""
    edge.taken()
    cases = [
        get(b"X-Folded: a", b" Transfer-Encoding: chunked"),
        get(b"X-Name: a\rTransfer-Encoding: chunked"),
        get(b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__").replace(CLOSE, b"Connection: close, upgrade\r\n"),
        get().replace(b"\r\n", b"\n"),
        post(CHUNKED, CLOSE[:-2], body=b"2;x=y\r\n{}\r\n0\r\n\r\n"),
        post(CHUNKED, CLOSE[:-2], body=b"2\r\n{}\r\n0\r\nTransfer-Encoding: chunked\r\nX-Trailer: a\r\n\r\n"),
        post(b"Content-Length: %d" % len(SECRET), CLOSE[:-2], body=SECRET),
    ]
    for raw in cases:
        statuses = await edge.send(raw)
        heard = edge.taken()
        assert len(statuses) == 1
        assert (statuses == [200]) == (len(heard) == 1), "heard without an answer, or twice"
        for each in heard:
            assert not {"upgrade", "http2-settings", "connection"} & {name for name, _ in each.headers}
            assert each.line.split()[1] == "/orders"
            assert len(each.all("content-length") + each.all("transfer-encoding")) <= 1
            assert not [v for _, v in each.headers if "\n" in v or "\r" in v]
            assert b"Trailer" not in each.body
    assert (await edge.send(cases[-1]), edge.taken()[0].body) == ([200], SECRET)


async def test_of_two_requests_in_one_piece_each_is_judged_for_itself(edge: Edge) -> None:
    edge.taken()
    first = get().replace(CLOSE, b"")
    assert await edge.send(first + get(path=b"/admin/resilience")) == [200, 404]
    assert [each.line for each in edge.taken()] == ["GET /orders HTTP/1.1"]


TOLD = [
    *(b"x-envoy-retry-on: 5xx", b"x-envoy-retry-grpc-on: internal", b"x-envoy-max-retries: 9"),
    *(b"x-envoy-upstream-rq-timeout-ms: 1", b"x-envoy-upstream-rq-per-try-timeout-ms: 1", b"x-envoy-force-trace: 1"),
    *(b"x-envoy-internal: true", b"x-envoy-original-path: /admin/resilience", b"x-envoy-decorator-operation: a"),
    *(b"x-envoy-expected-rq-timeout-ms: 1", b"x-envoy-hedge-on-per-try-timeout: true", b"x-envoy-ip-tags: a"),
    *(
        b"x-envoy-external-address: 203.0.113.9",
        b"x-envoy-downstream-service-cluster: admin",
        b"x-envoy-attempt-count: 7",
    ),
    *(
        b"x-envoy-retriable-status-codes: 200",
        b"x-envoy-retriable-header-names: date",
        b"x-envoy-upstream-alt-stat-name: a",
    ),
    *(b"x-forwarded-for: 203.0.113.9", b"x-forwarded-host: evil", b"x-forwarded-proto: https", b"x-request-id: mine"),
    *(b"forwarded: for=203.0.113.9;host=evil", b"x-forwarded-client-cert: By=spiffe://holdfast/order"),
    *(b"x-envoy-fault-delay-request: 60000", b"x-envoy-fault-abort-request: 503"),
]


async def test_no_header_of_a_customer_steers_the_mesh_or_says_who_calls(edge: Edge) -> None:
    edge.taken()
    for spelling in (bytes.lower, bytes.title, bytes.upper):
        headers = [spelling(each.partition(b":")[0]) + b":" + each.partition(b":")[2] for each in TOLD]
        assert await edge.send(get(*headers)) == [200]
    for heard in edge.taken():
        names = {name for name, _ in heard.headers}
        # Envoy's own word, the address that it saw
        assert [name for name in names if name.startswith("x-envoy-")] == ["x-envoy-external-address"]
        assert not {"forwarded", "x-forwarded-host", "x-forwarded-client-cert"} & names
        assert heard.all("x-forwarded-proto") == ["http"]
        assert heard.all("x-request-id") not in ([], ["mine"])
        assert "203.0.113.9" not in json.dumps(heard.headers)


async def test_a_customer_cannot_have_the_edge_drop_its_own_headers(edge: Edge) -> None:
    """`Connection` may name headers for one hop only; what the edge adds for the service is not among them."""
    edge.taken()
    named = b"Connection: close, x-request-id, traceparent, authorization, content-length"
    raw = post(named, b"Authorization: Bearer x", b"Keep-Alive: 9", b"TE: trailers", b"Content-Length: 2", body=b"{}")
    assert await edge.send(raw) == [200]
    (heard,) = edge.taken()
    assert heard.body == b"{}"
    assert [len(heard.all(name)) for name in ("x-request-id", "x-forwarded-for", "host", "content-length")] == [1] * 4
    assert not {"connection", "keep-alive", "upgrade", "proxy-connection"} & {name for name, _ in heard.headers}


async def test_no_tunnel_is_opened_through_the_edge(edge: Edge) -> None:
    edge.taken()
    _, writer = await asyncio.open_connection(*edge.mesh.topology.listen["edge"])
    writer.write(b"CONNECT payment:8081 HTTP/1.1\r\nHost: payment:8081\r\n\r\n" + SECRET)
    await writer.drain()
    assert await edge.send(get()) == [200]
    assert [each.line for each in edge.taken()] == ["GET /orders HTTP/1.1"]
    writer.close()


PATHS = rb"""
    /admin /admin/resilience /ADMIN/resilience //admin/resilience /./admin/resilience /%61dmin/resilience admin *
    /%2561dmin/resilience /orders/../admin/resilience /orders/%2e%2e/admin/resilience /orders/.%2e/admin/resilience
    /orders/..%2fadmin/resilience /orders%2f..%2fadmin /orders/..%5cadmin /orders\..\admin /orders/..\admin/resilience
    /orders;/../admin/resilience /orders/..;/../admin /health/ready/../../metrics /metrics /metrics/ /%6detrics /ordersx
    /orders/%00/../../admin /orders/%c0%ae%c0%ae/../../admin /orders/../../../../admin http://shop/admin/resilience
    /health/live%0d%0aX-A:%20b/../../../admin /docs/../admin/faults /docs/x /health/ /redoc/../metrics
    """.split()


async def test_no_spelling_of_a_path_reaches_what_operators_ask(edge: Edge) -> None:
    edge.taken()
    answers = await asyncio.gather(*(edge.send(get(path=path)) for path in PATHS))
    assert [path for path, statuses in zip(PATHS, answers, strict=True) if statuses not in ([400], [404])] == []
    assert [each.line for each in edge.taken()] == []


async def test_a_line_of_the_access_log_stays_one_whatever_is_asked_for(edge: Edge) -> None:
    forged = b'"}\\u000a{"event":"hop","status":200,"listener":"forged"}\x1b[31m'
    quoted = b"%0a%0d%22%7d%0a%7b%22listener%22:%22forged%22%7d%1b[2J"
    for raw in (get(b"User-Agent: " + forged, path=b'/orders/"}' + quoted), get(b"traceparent: " + forged)):
        await edge.send(raw)
    await asyncio.to_thread(edge.mesh.admin.counter, "http.edge.downstream_rq_total")
    lines = [line for line in edge.mesh.log.splitlines() if '"event":"hop"' in line]
    assert lines
    assert "forged" not in {json.loads(line)["listener"] for line in lines}
    assert not [line for line in lines if "\x1b" in line]


async def test_no_disguise_gets_more_through_than_the_edge_lets_pass() -> None:
    """The edge counts requests, not callers: there is nothing in a request that could make it a different counter."""
    order = Listener("order-1")
    async with running_mesh(tight(), order=[order]) as mesh:
        edge, began = Edge(mesh, order), time.monotonic()
        disguises = [
            get(
                b"X-Forwarded-For: 10.0.%d.1" % n, b"x-real-ip: 10.0.%d.1" % n, b"Forwarded: for=10.0.%d.1" % n,
                b"Authorization: Bearer %d" % n, b"X-Priority: running", b"x-envoy-internal: true",
                [b"Idempotency-Key: %d", b"idempotency-key: %d", b"IDEMPOTENCY-KEY: %d"][n % 3] % n,
                path=[b"/orders", b"/orders/", b"//orders", b"/orders?%d" % n, b"/health/../orders", b"/info"][n % 6],
            ).replace(HOST, b"Host: shop-%d\r\n" % n)
            for n in range(120)
        ]  # fmt: skip
        answers = await asyncio.gather(*map(edge.send, disguises))
        passed = answers.count([200])
        assert passed == len(edge.taken()) == len(disguises) - answers.count([429])
        # the burst, and one more for each second
        assert 20 <= passed <= 21 + (time.monotonic() - began)
        assert passed < 100, "too slow a machine to tell"
