"""The load of the soak: `python -m infra.load` as a process, and what its customers saw, read as it is written."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from infra.local.settings import ROOT

_STOP_SECONDS = 30.0
TAKEN = (201, 202)


@dataclass(frozen=True, slots=True)
class Ended:
    """An order that was answered, or given up (status 0): when it was sent, in Unix seconds, and how long it took."""

    sent: float
    seconds: float
    status: int


@dataclass(slots=True)
class Customers:
    """Orders at a rate, in an open loop, from a seed; begun by `sending`."""

    directory: Path
    ended: list[Ended] = field(default_factory=list)
    not_sent: int = 0
    _position: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def answers(self) -> Path:
        """What customers were told, for the auditor."""
        return self.directory / "answers.jsonl"

    @property
    def running(self) -> bool:
        """It sends."""
        return self._process is not None and self._process.poll() is None

    def start(self, url: str, inventory_url: str, *, rate: float, seconds: float, seed: int, in_flight: int) -> None:
        """Begin to send."""
        self.directory.mkdir(parents=True, exist_ok=True)
        events = self.directory / "orders.jsonl"
        events.touch()
        words = [
            sys.executable, "-m", "infra.load", "--url", url, "--inventory-url", inventory_url,
            "--rate", f"{rate:g}", "--seconds", f"{seconds:g}", "--seed", str(seed), "--in-flight", str(in_flight),
            "--events", str(events), "--answers", str(self.answers), "--stop-with-parent",
        ]  # fmt: skip
        with (self.directory / "load.log").open("wb") as log:
            # A session of its own: Ctrl-C is for the soak, which stops the load in its turn.
            self._process = subprocess.Popen(
                words, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    def read(self) -> None:
        """Take in what has been written since the last time."""
        with (self.directory / "orders.jsonl").open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # half written: it is read when it is whole
                self._position += len(line)
                event = json.loads(line)
                if event["event"] == "ended":
                    self.ended.append(Ended(event["at"] - event["seconds"], event["seconds"], event["status"]))
                elif event["event"] == "not_sent":
                    self.not_sent += 1

    def stop(self) -> None:
        """Send no more, wait for what is under way for a while, and read the rest."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert process.stdin is not None
        process.stdin.close()
        self.read()


@contextmanager
def sending(
    directory: Path, url: str, inventory_url: str, *, rate: float, seconds: float, seed: int, in_flight: int = 256
) -> Iterator[Customers]:
    """Customers who order inside the block, and not after it."""
    customers = Customers(directory)
    try:
        customers.start(url, inventory_url, rate=rate, seconds=seconds, seed=seed, in_flight=in_flight)
        yield customers
    finally:
        customers.stop()


def capacity(directory: Path, url: str, inventory_url: str, *, seconds: float = 16.0, at_once: int = 24) -> float:
    """Orders a second that are taken with so many customers at once, after a third of the time for warming up.

    More orders arrive than can be served, and those above `at_once` are not sent: whoever has an answer makes room for
    the next one. Measured with the very sender of the soak, so that 70 % of it is 70 %.
    """
    with sending(directory, url, inventory_url, rate=400, seconds=seconds, seed=1, in_flight=at_once) as customers:
        time.sleep(seconds)
    moments = sorted(order.sent + order.seconds for order in customers.ended if order.status in TAKEN)
    if len(moments) < at_once:
        raise SystemExit(f"{len(moments)} orders were taken in {seconds:g} s: {customers.directory / 'load.log'}")
    begin, end = moments[0] + seconds / 3, moments[0] + seconds - 1
    return sum(begin <= moment < end for moment in moments) / (end - begin)
