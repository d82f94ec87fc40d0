"""Samples every process of a stack: memory, descriptors, threads, tasks, pools, and what is stored."""

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import psutil

from infra.local import processes
from infra.local.control import ControlError
from infra.local.stack import LocalStack
from tests.soak.judge import Point, Series

_SCRAPE_SECONDS = 2.0
_NAMES = {
    "asyncio_tasks": "tasks",
    "db_pool_connections_active": "pool in use",
    "db_pool_connections_max": "pool size",
    "outbox_messages": "outbox",
    "orders_unfinished": "unfinished",
}
_GAUGE = re.compile(rf"^({'|'.join(_NAMES)})(?:\{{[^}}]*\}})? (\S+)$", re.MULTILINE)
_DATABASES = ("order.sqlite", "payment.sqlite", "inventory.sqlite")
_SUPERVISOR = "supervisor"
_MUCH, _LITTLE = 0.2, 0.15
"""Shares of the machine: others have much of it when they take the first while not even the second is idle."""


class Sampler:
    """A thread that looks until it is stopped. What cannot be read is left out: faults are what a soak is about."""

    def __init__(self, stack: LocalStack, every: float) -> None:
        self.series = Series()
        self.shared: list[tuple[float, float]] = []
        self._stack, self._every = stack, every
        self._machine = Machine(stack)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sampler", daemon=True)
        self._pool = ThreadPoolExecutor(4)
        self._ports = {
            program.name: program.port
            for program in stack.status()
            if program.name.startswith(("order-", "payment-", "inventory-", "control-room-"))
        }

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """No more."""
        self._over.set()
        self._thread.join(30)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _watch(self) -> None:
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._every, time.monotonic())
            try:
                self.look()
            except (ControlError, OSError):
                continue  # the supervisor is busy, or the stack is going down

    def look(self) -> None:
        """One sample of everything."""
        since, others, idle = self._machine.read()
        at = time.time()
        if others > _MUCH and idle < _LITTLE:
            self.shared.append((since, at))
        self.series.add("share of others", "machine", Point(at, others))
        self.series.add("share idle", "machine", Point(at, idle))
        pids = {name: state.pid for name, state in self._stack.control.programs().items() if state.alive}
        scraped = {name: self._pool.submit(self._scrape, port) for name, port in self._ports.items() if name in pids}
        for name, pid in {**pids, _SUPERVISOR: self._stack.control.pid()}.items():
            self._look_at_process(name, pid)
        for name, answer in scraped.items():
            for metric, value in answer.result().items():
                self.series.add(metric, name, Point(time.time(), value, pids[name]))
        for metric, megabytes in stored(self._stack.state.data).items():
            self.series.add(metric, "stack", Point(time.time(), megabytes))

    def _look_at_process(self, name: str, pid: int) -> None:
        try:
            family = processes.family(pid) if name != _SUPERVISOR else (pid,)
            members = [psutil.Process(each) for each in family]
            at = time.time()
            values = {
                "memory": processes.resident_bytes(pid, alone=name == _SUPERVISOR) / 1e6,
                "shared memory once": sum(member.memory_full_info().pss for member in members) / 1e6,
                "descriptors": sum(member.num_fds() for member in members),
                "threads": sum(member.num_threads() for member in members),
            }
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return
        for metric, value in values.items():
            self.series.add(metric, name, Point(at, float(value), pid))

    def _scrape(self, port: int) -> dict[str, float]:
        """The gauges of one process, summed over their labels; none when it does not answer."""
        try:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_SCRAPE_SECONDS) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        return gauges(text)


class Machine:
    """Who has the machine: the stack and this process with its children, or others."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._at, self._total, self._idle, self._own = self._now()

    def read(self) -> tuple[float, float, float]:
        """The moment of the last reading, and what share of the machine others have had since, and nobody."""
        since, before, rested, spent = self._at, self._total, self._idle, self._own
        self._at, self._total, self._idle, self._own = self._now()
        passed, idle = max(self._total - before, 1e-6), self._idle - rested
        own = sum(seconds - spent.get(pid, 0.0) for pid, seconds in self._own.items())
        return since, (passed - idle - own) / passed, idle / passed

    def _now(self) -> tuple[float, float, float, dict[int, float]]:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # guests are in `user` already
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        own = {}
        for pid in (*processes.family(self._stack.control.pid()), *processes.family(os.getpid())):
            with contextlib.suppress(psutil.NoSuchProcess):
                spent = psutil.Process(pid).cpu_times()
                own[pid] = spent.user + spent.system
        return time.time(), total, idle, own


def gauges(text: str) -> dict[str, float]:
    """What is judged of a `/metrics`, by the soak's names, summed over labels."""
    found: dict[str, float] = {}
    for name, value in _GAUGE.findall(text):
        found[_NAMES[name]] = found.get(_NAMES[name], 0.0) + float(value)
    return found


def stored(data: Path) -> dict[str, float]:
    """Megabytes on disk under a stack's data directory: databases, their logs of writes, streams."""
    sizes = {"databases": 0.0, "write-ahead log": 0.0, "streams": 0.0, "traces": 0.0}
    for path in data.rglob("*"):
        try:
            size = path.stat().st_size / 1e6 if path.is_file() else 0.0
        except FileNotFoundError:
            continue  # streams come and go
        if path.name in _DATABASES or "base" in path.parts:
            sizes["databases"] += size
        elif path.name.endswith(".sqlite"):
            sizes["traces"] += size
        elif path.name.endswith("-wal") or "pg_wal" in path.parts:
            sizes["write-ahead log"] += size
        elif "nats" in path.parts:
            sizes["streams"] += size
    return sizes


@contextmanager
def sampling(stack: LocalStack, every: float) -> Iterator[Sampler]:
    """Samples are taken inside the block."""
    sampler = Sampler(stack, every)
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.stop()
