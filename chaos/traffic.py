"""The experiment's own load: `python -m infra.load` as a process, and what customers see of it as it happens."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from chaos.definition import Abort, Load
from chaos.recording import Order, Recording, percentile

_LONGEST_SECONDS = 1800
_STOP_SECONDS = 25.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What customers saw in a window. `success` and `p99` are None when no order ended and none is late."""

    orders: int
    success: float | None
    p99: float | None
    late: int = 0


def figures(orders: Iterable[Order], now: float, seconds: float, late_after: float) -> Figures:
    """Figures of the last seconds: of the orders that ended in them, and of those that have waited too long since.

    An order that hangs tells nobody until it ends: from `late_after` seconds on it counts as one that failed.
    """
    ended, late = [], []
    for order in orders:
        if order.ended is not None and order.ended > now - seconds:
            ended.append(order)
        elif order.ended is None and now - order.sent > late_after:
            late.append(order)
    total = len(ended) + len(late)
    if not total:
        return Figures(0, None, None)
    waits = [order.seconds for order in ended] + [now - order.sent for order in late]
    return Figures(total, sum(order.good for order in ended) / total, percentile(waits, 99), len(late))


def breach(seen: Figures, limits: Abort) -> str:
    """Why an experiment has to end now; empty when it may go on."""
    if seen.orders < limits.at_least_orders or seen.success is None or seen.p99 is None:
        return ""
    if seen.success < limits.success_below:
        return f"{seen.success:.0%} of {seen.orders} orders were served, the limit is {limits.success_below:.0%}"
    if seen.p99 > limits.p99_above_seconds:
        return f"p99 is {seen.p99:.1f} s, the limit is {limits.p99_above_seconds:g} s"
    return ""


class Traffic:
    """Sends orders until it is stopped; reads along what comes of them into the recording."""

    def __init__(self, directory: Path, recording: Recording, *, edge: str, inventory: str) -> None:
        self.answers = directory / "answers.jsonl"
        self.summary = directory / "load.json"
        self._events = directory / "orders.jsonl"
        self._log = directory / "load.log"
        self._recording = recording
        self._words = ["--url", edge, "--inventory-url", inventory]
        self._process: subprocess.Popen[bytes] | None = None
        self._position = 0
        self._reading = threading.Lock()

    def start(self, load: Load, *, seed: int, experiment: str) -> None:
        """Begin to send."""
        command = [
            sys.executable, "-m", "infra.load", *self._words, "--allow-remote",
            "--rate", f"{load.orders_per_second:g}", "--seconds", str(_LONGEST_SECONDS), "--seed", str(seed),
            "--attempts", str(load.attempts), "--declining", f"{load.declining:g}",
            "--answers", str(self.answers), "--events", str(self._events), "--json", str(self.summary),
            "--experiment", experiment, "--stop-with-parent",
        ]  # fmt: skip
        self._events.touch()
        with self._log.open("wb") as log:
            # A group of its own: Ctrl-C is for the runner, which stops the load when the fault is out.
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def running(self) -> bool:
        """It sends."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Send no more, wait for those under way for a few seconds, read what is left."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self.read()

    def read(self) -> None:
        """Take in what has been written since the last time."""
        if not self._events.exists():
            return
        with self._reading, self._events.open("rb") as file:
            file.seek(self._position)
            # The last line may be half written: it is read when it is whole.
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._position += len(line)
                _take(self._recording, json.loads(line))

    def figures(self, seconds: float, late_after: float, now: float | None = None) -> Figures:
        """What customers saw in the last seconds."""
        return figures(list(self._recording.orders.values()), now or time.time(), seconds, late_after)


def _take(recording: Recording, event: dict[str, object]) -> None:
    key, at = str(event.get("key", "")), float(str(event["at"]))
    if event["event"] == "sent":
        recording.orders[key] = Order(key, at)
    elif event["event"] == "ended" and key in recording.orders:
        order = recording.orders[key]
        order.ended, order.status, order.meaning = at, int(str(event["status"])), str(event["meaning"])
        order.seconds, order.attempts = float(str(event["seconds"])), int(str(event["attempts"]))
