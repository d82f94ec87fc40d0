"""The same order platform as most tutorials write it, to be measured beside ours. It is meant to be fair.

Taken from tutorials: FastAPI with SQLAlchemy's ORM and a session a request, httpx with its own transport, tenacity's
`@retry` around an aiobreaker around `asyncio.wait_for`, OpenTelemetry's contrib instrumentation of FastAPI, httpx and
SQLAlchemy with every trace recorded and exported in batches, prometheus-fastapi-instrumentator, uvicorn as it comes
(uvloop and httptools, which `uvicorn[standard]` brings, and its access log). The numbers of the policies are those of
the tutorial that Holdfast implements: 3 attempts, the second after 1 s; a breaker that opens for 10 s after 5 failures;
5 s a call.

The same work: the four calls in the same order (availability, hold, charge, sale), the same rows (order, reservation,
stock, payment, a ledger entry), one order an idempotency key, each step of an order written down, the same latency of
the simulated card network.

Where tutorials slip and a fair comparison must not, it has the better version: one HTTP client and one engine a
process; SQLite in WAL mode with `synchronous=NORMAL`, as ours; stock taken by one conditional UPDATE, never read first;
rows found by indexes; a breaker that is open, and a refusal (4xx), are not tried again; probes and metrics are not
traced. It has less to do than ours where tutorials leave things out: no tokens between services, no sealed cards, no
recovery, no outbox, no load shedding, no deadlines. Its spans go to a sink that reads and forgets them
(`tests.bench.peers.sink`), where ours are parsed, sampled and stored.
"""
