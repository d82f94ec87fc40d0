"""One soak from the start of its stack to what the auditor says."""

import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.error import URLError
from urllib.request import Request, urlopen

from infra.local.errors import StackError
from infra.local.harness import running_stack
from infra.local.settings import ROOT, SERVICES
from infra.local.stack import LocalStack
from tests.bench.figures import percentile
from tests.soak.customers import TAKEN, Customers, capacity, sending
from tests.soak.judge import Point, Series, Window
from tests.soak.mild import RECOVERY_SECONDS, plan
from tests.soak.sampling import Sampler, sampling

REPLICAS = {"replicas_order": 2, "replicas_payment": 2, "replicas_inventory": 2, "traces": "on", "page": "on"}
"""Two of each, so that the end of one is mild; the control room as `make up` has it."""
SHARE = 0.7
_SETTLE_SECONDS = 180.0
_LATENCY_SECONDS = 15.0
_STOCK = 1_000_000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for. rate: orders a second; None: 70 % of what is measured."""

    minutes: float
    seed: int
    rate: float | None

    @property
    def seconds(self) -> float:
        """Of load that is judged, the warm-up with it."""
        return self.minutes * 60

    @property
    def warm_up(self) -> float:
        """Seconds of the run, and of each process that is started in it, that do not count."""
        return min(300.0, self.seconds / 4)

    @property
    def every(self) -> float:
        """Seconds between two samples."""
        return 3.0 if self.minutes < 15 else 5.0


@dataclass(slots=True)
class Soak:
    """What was seen. Moments in Unix seconds, rates in orders a second, sizes in megabytes."""

    wanted: Wanted
    series: Series = field(default_factory=Series)
    began: float = math.nan
    ended: float = math.nan
    capacity: float = math.nan
    rate: float = math.nan
    faults: list[tuple[float, float, str]] = field(default_factory=list)
    shared: list[tuple[float, float]] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    not_sent: int = 0
    taken: int = 0
    logs: dict[str, float] = field(default_factory=dict)
    log_limit: float = math.nan
    audit_clean: bool = False
    audit: str = "the auditor did not run"

    @property
    def window(self) -> Window:
        """What is judged."""
        without = [(start, end + RECOVERY_SECONDS) for start, end, _ in self.faults]
        # an order's latency stands in the middle of its slice
        shared = [(since - _LATENCY_SECONDS / 2, until + RECOVERY_SECONDS) for since, until in self.shared]
        return Window(self.began, self.ended, self.wanted.warm_up, without, shared)

    @property
    def shared_share(self) -> float:
        """Of the judged window: when others had much of the machine."""
        begin = self.began + self.wanted.warm_up
        seconds = sum(max(0.0, min(until, self.ended) - max(since, begin)) for since, until in self.shared)
        return seconds / self.window.judged_seconds

    def grown(self, metric: str) -> float:
        """How much a figure of the whole stack is greater at the end than after the warm-up."""
        counted = [
            p.value for p in self.series.points.get((metric, "stack"), []) if p.at >= self.began + self.wanted.warm_up
        ]
        return counted[-1] - counted[0] if counted else math.nan

    @property
    def stored_kilobytes(self) -> float:
        """Growth of the databases by an order that was taken."""
        share = 1 - self.wanted.warm_up / self.wanted.seconds
        return self.grown("databases") * 1000 / max(1.0, self.taken * share)


def soak(wanted: Wanted, directory: Path, found: Soak, say: Say) -> None:
    """Start a stack, load it, strike it, sample it, audit it; `found` has what was seen also when this is interrupted.

    Raises:
        StackError: the stack does not come up.
    """
    say("starting a stack of its own ...")
    with running_stack(directory / "stack", **REPLICAS) as stack:
        _stock(stack)
        urls = stack.url("order"), stack.url("inventory")
        found.capacity = capacity(directory / "capacity", *urls)
        found.rate = wanted.rate or max(1.0, round(SHARE * found.capacity, 1))
        say(f"it takes {found.capacity:.0f} orders/s; {found.rate:g} are offered for {wanted.minutes:g} min")
        load = sending(directory / "load", *urls, rate=found.rate, seconds=wanted.seconds, seed=wanted.seed)
        with sampling(stack, wanted.every) as sampler, load as customers:
            found.began = time.time()
            try:
                _strike(stack, found, customers, say)
            finally:
                found.ended = time.time()
        _take(found, sampler, customers)
        _logs(found, stack)
        say("the load is over; waiting until every order is settled, for the auditor ...")
        _audit(stack, customers.answers, found)


def _strike(stack: LocalStack, found: Soak, customers: Customers, say: Say) -> None:
    """Carry out the plan until the time is over."""
    wanted, began, pause = found.wanted, time.monotonic(), threading.Event()
    for planned in plan(wanted.seconds, Random(wanted.seed)):
        pause.wait(max(0.0, planned.at - (time.monotonic() - began)))
        customers.read()
        if not customers.running:
            raise StackError("the load ended before its time", f"Its log: {customers.directory / 'load.log'}")
        at = time.time()
        say(f"{(time.monotonic() - began) / 60:5.1f} min  {len(customers.ended)} orders  {planned.fault.name}")
        try:
            planned.fault.begin(stack)
        except (StackError, URLError, OSError) as error:
            say(f"           it could not begin: {error}")
        found.faults.append((at, max(time.time(), at + planned.fault.seconds), planned.fault.name))
    pause.wait(max(0.0, wanted.seconds - (time.monotonic() - began)))


def _take(found: Soak, sampler: Sampler, customers: Customers) -> None:
    found.series, found.shared = sampler.series, sampler.shared
    found.not_sent = customers.not_sent
    for order in customers.ended:
        found.statuses[order.status] = found.statuses.get(order.status, 0) + 1
    found.taken = sum(found.statuses.get(status, 0) for status in TAKEN)
    for at, name, milliseconds in _latencies(found, customers):
        found.series.add(name, "customers", Point(at, milliseconds))


def _latencies(found: Soak, customers: Customers) -> Iterator[tuple[float, str, float]]:
    """Percentiles of the orders sent in each quarter of a minute in which no fault is."""
    window = found.window
    slices: dict[int, list[float]] = {}
    for order in customers.ended:
        if order.status in TAKEN:
            slices.setdefault(int((order.sent - found.began) // _LATENCY_SECONDS), []).append(order.seconds * 1000)
    for number, milliseconds in sorted(slices.items()):
        start = found.began + number * _LATENCY_SECONDS
        if not window.calm(start, start + _LATENCY_SECONDS):
            continue
        for percent in (50, 99):
            yield start + _LATENCY_SECONDS / 2, f"latency p{percent}", percentile(milliseconds, percent)


def _stock(stack: LocalStack) -> None:
    """So much of every product that none is sold out by the end: refusals are quicker than orders."""
    url = stack.url("inventory")
    headers = {"authorization": f"Bearer {stack.secret('operator', 'admin_token')}", "content-type": "application/json"}
    with urlopen(f"{url}/products?limit=100", timeout=10) as answer:
        products = [item["sku"] for item in json.load(answer)["items"]]
    body = json.dumps({"quantity": _STOCK}).encode()
    for sku in products:
        named = headers | {"idempotency-key": f"soak-{sku}"}
        urlopen(Request(f"{stack.url('inventory-1')}/products/{sku}/restock", body, named), timeout=10).close()


def _logs(found: Soak, stack: LocalStack) -> None:
    found.log_limit = stack.settings.log_max_mb * 3 * 2**20 / 1e6  # the supervisor's megabyte is a mebibyte
    for file in stack.state.logs.iterdir():
        program = file.name.partition(".log")[0]
        found.logs[program] = found.logs.get(program, 0.0) + file.stat().st_size / 1e6


def _audit(stack: LocalStack, answers: Path, found: Soak) -> None:
    """Ask the auditor until every order is settled and all is well, or patience is over."""
    words = [sys.executable, "-m", "infra.audit", "--settled", "--answers", str(answers)]
    for module in sorted({service.module for service in SERVICES}):
        words += [f"--{module}", stack.database_url(module)]
    deadline, pause = time.monotonic() + _SETTLE_SECONDS, threading.Event()
    while True:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        found.audit_clean, found.audit = done.returncode == 0, done.stdout + done.stderr
        if found.audit_clean or time.monotonic() > deadline:
            return
        pause.wait(3.0)


@contextmanager
def interruptible(say: Say) -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C ends the block in order; afterwards the yielded function tells whether it did."""
    interrupted = False
    try:
        yield lambda: interrupted
    except KeyboardInterrupt:
        interrupted = True
        say("interrupted")
