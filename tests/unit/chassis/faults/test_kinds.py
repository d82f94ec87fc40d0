"""What each kind of fault does, with time and chance in the test's hands. Statements: tests/integration/chassis."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from shared.chassis.faults import (
    ClockFault,
    CpuFault,
    HttpFault,
    IdempotencyFault,
    LoopFault,
    MemoryFault,
    NetworkFault,
    Refused,
)
from shared.chassis.faults.names import without_names
from shared.chassis.faults.transport import BreakableTransport
from shared.chassis.problems import Problem
from tests.fixtures.waiting import until, until_true
from tests.unit.chassis.faults.hand import Bench, bench

MEGABYTE = 1024 * 1024


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path, drawn=(0.2, 0.6)) as opened:
        yield opened


class Requests:
    """Requests that come in to an application which only counts them."""

    def __init__(self, made: Bench) -> None:
        self.served = 0
        self._app = made.faults.http.around(self._serve)

    async def _serve(self, *_: Any) -> None:
        self.served += 1

    async def come(self, method: str = "POST", path: str = "/process") -> int:
        """The status of one; 0 when it was served."""
        try:
            await self._app({"type": "http", "method": method, "path": path}, None, None)  # type: ignore[arg-type]
        except Problem as problem:
            return problem.status_code
        return 0


@pytest.fixture
def requests(made: Bench) -> Requests:
    return Requests(made)


async def test_http_strikes_only_the_path_and_method_that_it_names(made: Bench, requests: Requests) -> None:
    made.faults.inject(HttpFault(path="/process", method="POST", status=503, seconds=10))
    assert await requests.come() == 503
    assert await requests.come(path="/processes") == 503
    assert await requests.come(path="/status/1") == 0
    assert await requests.come(method="GET") == 0
    assert made.value("faults_struck_total", "http") == 2


@pytest.mark.parametrize("path", ["/health/ready", "/metrics", "/info", "/admin/faults", "/admin/resilience"])
async def test_http_never_strikes_what_operators_need(made: Bench, requests: Requests, path: str) -> None:
    made.faults.inject(HttpFault(status=500, seconds=10))
    assert await requests.come("GET", path) == 0
    with pytest.raises(Refused) as caught:
        made.faults.inject(HttpFault(path=path, status=500, seconds=10))
    assert caught.value.field == "path"


async def test_http_strikes_the_share_that_it_is_told(made: Bench, requests: Requests) -> None:
    made.faults.inject(HttpFault(status=500, rate=0.5, seconds=10))  # chance says 0.2, 0.6, 0.2, ...
    assert [await requests.come() for _ in range(4)] == [500, 0, 500, 0]


async def test_http_delays_by_latency_and_a_share_of_the_jitter(made: Bench, requests: Requests) -> None:
    made.faults.inject(HttpFault(latency_ms=300, jitter_ms=1_000, seconds=10))
    request = asyncio.create_task(requests.come())
    await made.timing.reached(2)
    made.timing.advance(0.49)  # 0.3 and 0.2 of a second
    await asyncio.sleep(0)
    assert requests.served == 0
    made.timing.advance(0.02)
    assert await request == 0
    assert requests.served == 1


@pytest.mark.parametrize("how", ["cleared", "expired"])
async def test_a_request_that_is_delayed_goes_on_when_the_fault_ends(made: Bench, requests: Requests, how: str) -> None:
    fault = made.faults.inject(HttpFault(latency_ms=60_000, status=500, seconds=10))
    request = asyncio.create_task(requests.come())
    await made.timing.reached(2)
    if how == "cleared":
        made.faults.clear(fault.id)
    else:
        made.timing.advance(10)
    assert await request == 0
    assert requests.served == 1


async def test_a_delayed_request_that_is_given_up_leaves_nothing_behind(made: Bench, requests: Requests) -> None:
    fault = made.faults.inject(HttpFault(latency_ms=60_000, seconds=100))
    request = asyncio.create_task(requests.come())
    await made.timing.reached(2)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert fault._wakes == set()


class Payment:
    """The transport to a service that always answers."""

    def __init__(self, made: Bench, nameless: httpx.AsyncBaseTransport | None = None) -> None:
        self.transport = BreakableTransport(
            httpx.MockTransport(lambda _: httpx.Response(200)), "payment", made.faults.network, nameless
        )

    async def call(self, seconds: float = 10) -> str:
        extensions = {"timeout": {"read": seconds}}
        request = httpx.Request("GET", "http://payment:81/x", extensions=extensions)
        try:
            return str((await self.transport.handle_async_request(request)).status_code)
        except httpx.TransportError as error:
            return f"{type(error).__name__} {type(error.__cause__).__name__}"


@pytest.mark.parametrize(
    ("error", "raised"),
    [("refused", "ConnectError ConnectionRefusedError"), ("dns", "ConnectTimeout ClientConnectorDNSError")],
)
async def test_network_fails_as_the_system_would(made: Bench, error: Any, raised: str) -> None:
    async with without_names() as nameless:
        payment = Payment(made, nameless)
        assert await payment.call() == "200"
        fault = made.faults.inject(NetworkFault(to="payment", error=error, seconds=10))
        assert (await payment.call(), fault.struck) == (raised, 1)
        made.faults.clear(fault.id)
        assert await payment.call() == "200"


def test_names_are_not_lost_where_services_are_called_by_address(made: Bench) -> None:
    Payment(made, None)
    with pytest.raises(Refused, match="by its address") as caught:
        made.faults.inject(NetworkFault(error="dns", seconds=10))
    assert caught.value.field == "error"


async def test_network_timeout_hangs_until_the_client_has_waited_long_enough(made: Bench) -> None:
    made.faults.inject(NetworkFault(to="payment", error="timeout", seconds=100))
    call = asyncio.create_task(Payment(made).call(3))
    await made.timing.reached(2)
    made.timing.advance(2.9)
    await asyncio.sleep(0)
    assert not call.done()
    made.timing.advance(0.2)
    assert await call == "ReadTimeout NoneType"


async def test_a_call_that_hangs_gets_through_when_the_network_is_back(made: Bench) -> None:
    made.faults.inject(NetworkFault(to="payment", error="timeout", seconds=2))
    call = asyncio.create_task(Payment(made).call(3))
    await made.timing.reached(2)
    made.timing.advance(2)
    assert await call == "200"


async def test_network_flaps_on_and_off_from_its_beginning(made: Bench) -> None:
    payment = Payment(made)
    made.faults.inject(NetworkFault(error="refused", on_ms=200, off_ms=300, seconds=100))
    fails = []
    for _ in range(10):
        fails.append(await payment.call() != "200")
        made.timing.advance(0.1)
    assert fails == [True, True, False, False, False] * 2


def test_network_refuses_a_service_that_is_not_called(made: Bench) -> None:
    with pytest.raises(Refused, match="only payment") as caught:
        made.faults.inject(NetworkFault(to="inventory", error="dns", seconds=10))
    assert caught.value.field == "to"
    made.faults.network.called.clear()
    with pytest.raises(Refused, match="calls no other"):
        made.faults.inject(NetworkFault(error="dns", seconds=10))


def test_clocks_go_wrong_by_the_sum_of_all_offsets_and_right_again(made: Bench) -> None:
    clock = made.faults.clock
    made.faults.inject(ClockFault(offset_seconds=3_600, seconds=20))
    made.faults.inject(ClockFault(offset_seconds=-600, seconds=10))
    assert clock.now() == pytest.approx(time.time() + 3_000, abs=5)
    made.timing.advance(10)
    assert clock.now() == pytest.approx(time.time() + 3_600, abs=5)
    made.timing.advance(10)
    assert clock.now() == pytest.approx(time.time(), abs=5)


def is_running(name: str) -> bool:
    return any(thread.name == name for thread in threading.enumerate())


def test_cpu_burns_in_the_process_until_it_is_over(made: Bench) -> None:
    before = time.process_time()
    fault = made.faults.inject(CpuFault(share=1, seconds=100))
    until(lambda: time.process_time() - before > 0.2)
    made.timing.advance(100)
    until(lambda: not is_running(fault.id))


def test_a_tenth_of_a_core_is_not_a_whole_one(made: Bench) -> None:
    fault = made.faults.inject(CpuFault(share=0.1, seconds=100))
    (burner,) = [thread for thread in threading.enumerate() if thread.name == fault.id]
    process, began = psutil.Process(), time.monotonic()

    def burnt() -> float:
        times = [t for t in process.threads() if t.id == burner.native_id]
        return sum(t.user_time + t.system_time for t in times)

    until(lambda: burnt() >= 0.1)
    assert time.monotonic() - began > 0.5


def test_memory_leaks_up_to_its_bound_and_comes_back_at_the_end(made: Bench) -> None:
    process = psutil.Process()
    before, data_before = process.memory_info().rss, process.memory_info().data
    fault = made.faults.inject(MemoryFault(mb_per_second=1_000, max_mb=64, seconds=100))
    until(lambda: fault.struck == 64)
    assert process.memory_info().rss - before > 50 * MEGABYTE
    assert process.memory_info().data - data_before > 50 * MEGABYTE, "it would not run into the limit of the process"
    assert fault.over.wait(0.05) is False
    assert fault.struck == 64
    made.faults.clear()
    until(lambda: not is_running(fault.id))
    assert process.memory_info().rss - before < 20 * MEGABYTE


_LIMITED = """
import mmap, resource, sys, threading, time
import psutil
from shared.chassis.faults.active import Active
from shared.chassis.faults.memory import _leak
from shared.chassis.faults.requests import MemoryFault

def mapped(megabytes):
    return mmap.mmap(-1, megabytes * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

def nothing_left():
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            mapped(2).close()
        except OSError:
            return True
        time.sleep(0.02)
    return False

given_back_later = mapped(16)
fault = Active("leak", MemoryFault(mb_per_second=1_000, max_mb=900, seconds=100), time, lambda: None)
limit = psutil.Process().memory_info().data + 60 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
leak = threading.Thread(target=_leak, args=(fault,), daemon=True)
leak.start()
first = nothing_left()
given_back_later.close()
again = nothing_left()
fault.over.set()
leak.join()
mapped(50).close()
sys.stdout.write(f"{first} {again}")
"""


def test_a_leak_that_meets_the_limit_of_its_process_takes_what_others_give_back_until_it_ends() -> None:
    words = [sys.executable, "-c", _LIMITED]
    found = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)
    assert (found.stdout.splitlines()[-1:], found.returncode) == (["True True"], 0), found.stderr


_HEAP = """
import resource, sys, threading, time
import psutil
from shared.chassis.faults.active import Active
from shared.chassis.faults.memory import _leak
from shared.chassis.faults.requests import MemoryFault

def refused():
    # what a process has used and freed before is still its own, whatever its limit says
    try:
        return not [bytearray(20_000) for _ in range(200)]
    except MemoryError:
        return True

held = [bytearray(20_000) for _ in range(600)]
del held[::8]  # room between what is in use: it does not go back to the system
del held[::2]
fault = Active("leak", MemoryFault(mb_per_second=1_000, max_mb=900, seconds=100), time, lambda: None)
limit = psutil.Process().memory_info().data + 40 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
before = refused()
leak = threading.Thread(target=_leak, args=(fault,), daemon=True)
leak.start()
until = time.monotonic() + 20
while not (meanwhile := refused()) and time.monotonic() < until:
    time.sleep(0.02)
fault.over.set()
leak.join(60)
sys.stdout.write(f"{before} {meanwhile} {leak.is_alive()} {refused()}")
"""


def test_a_leak_at_the_limit_of_its_process_leaves_nothing_of_the_heap_either_and_gives_it_back() -> None:
    words = [sys.executable, "-c", _HEAP]
    found = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)
    assert (found.stdout.splitlines()[-1:], found.returncode) == (["False True False False"], 0), found.stderr


def test_all_leaks_together_are_bounded(made: Bench) -> None:
    made.faults.inject(MemoryFault(mb_per_second=0.1, max_mb=1_000, seconds=100))
    with pytest.raises(Refused, match="24 are left") as caught:
        made.faults.inject(MemoryFault(mb_per_second=0.1, max_mb=25, seconds=100))
    assert caught.value.field == "max_mb"


async def test_the_loop_is_blocked_over_and_over(made: Bench) -> None:
    fault = made.faults.inject(LoopFault(block_ms=60, every_ms=80, seconds=100))
    longest, before = 0.0, time.monotonic()
    while fault.struck < 3:
        await asyncio.sleep(0.001)
        longest, before = max(longest, time.monotonic() - before), time.monotonic()
    assert longest >= 0.06


async def test_a_block_of_the_loop_ends_with_the_fault_by_another_thread(made: Bench) -> None:
    fault = made.faults.inject(LoopFault(block_ms=10_000, every_ms=20_000, seconds=100))
    ender = threading.Thread(target=lambda: (until(lambda: fault.struck), made.timing.advance(100)))
    began = time.monotonic()
    ender.start()
    await until_true(fault.over.is_set)
    assert time.monotonic() - began < 8
    ender.join()


def test_keys_are_forgotten_only_by_a_service_that_remembers_some_and_only_while_the_fault_acts(made: Bench) -> None:
    assert made.faults.idempotency.striking() is None
    fault = made.faults.inject(IdempotencyFault(seconds=10))
    assert made.faults.idempotency.striking() is fault
    made.timing.advance(10)
    assert made.faults.idempotency.striking() is None
    made.faults.idempotency.remembered = False
    with pytest.raises(Refused, match="remembers no keys"):
        made.faults.inject(IdempotencyFault(seconds=10))
