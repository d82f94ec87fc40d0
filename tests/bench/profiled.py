"""A service of ours with a sampler in it: `python -m tests.bench.profiled order`. See `bench_profile`.

Every few milliseconds of CPU time the main thread is interrupted and its stack is filed under the first frame, from the
inside, that belongs to a known part; where the loop only waits, another thread works. SIGUSR1 begins anew, SIGUSR2
writes what was counted to `PROFILE_DIR/<INSTANCE>.json`: samples by part, CPU seconds by thread since the beginning.
"""

import json
import os
import runpy
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL_SECONDS = 0.002
WAITING = "waiting"
_PARTS = (
    ("/shared/resilience/", "resilience"),
    ("/shared/chassis/admission.py", "resilience"),
    ("/shared/telemetry/", "telemetry"),
    ("/shared/chassis/metrics.py", "telemetry"),
    ("/services/order/call_metrics.py", "telemetry"),
    ("/fastapi/telemetry/", "telemetry"),
    ("/opentelemetry/", "telemetry"),
    ("/prometheus_client/", "telemetry"),
    ("/prometheus_fastapi_instrumentator/", "telemetry"),
    ("/structlog/", "telemetry"),
    ("/logging/", "telemetry"),
    ("/sqlalchemy/", "database"),
    ("/aiosqlite/", "database"),
    ("/asyncpg/", "database"),
    ("/greenlet/", "database"),
    ("/shared/chassis/database.py", "database"),
    ("/shared/chassis/sqlite_driver.py", "database"),
    ("/shared/chassis/outage.py", "database"),
    ("/httpx_aiohttp/", "client"),
    ("/aiohttp/", "client"),
    ("/httpx/", "client"),
    ("/httpcore/", "client"),
    ("/yarl/", "client"),
    ("/services/order/downstream.py", "client"),
    ("/shared/chassis/faults/transport.py", "client"),
    ("/fastapi/", "parse and route"),
    ("/starlette/", "parse and route"),
    ("/pydantic/", "parse and route"),
    ("/uvicorn/", "parse and route"),
    ("/shared/chassis/frame.py", "parse and route"),
    ("/shared/chassis/auth.py", "parse and route"),
    ("/nats/", "messages"),
    ("/shared/messaging/", "messages"),
    ("/services/", "own code"),
    ("/shared/", "own code"),
)


class Sampler:
    """Counts where the main thread is."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._files: dict[str, str | None] = {}
        self._lines: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._begun: dict[str, float] = {}

    def start(self) -> None:
        """Interrupt from now on."""
        signal.signal(signal.SIGPROF, self._take)
        signal.signal(signal.SIGUSR1, self._begin)
        signal.signal(signal.SIGUSR2, self._write)
        signal.siginterrupt(signal.SIGPROF, False)

    def _begin(self, _number: int, _frame: FrameType | None) -> None:
        self._counts.clear()
        self._lines.clear()
        self._begun = _cpu_by_thread()
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)

    def _write(self, _number: int, _frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        spent = {name: seconds - self._begun.get(name, 0.0) for name, seconds in _cpu_by_thread().items()}
        written = {"samples": self._counts, "threads": spent, "lines": dict(self._lines.most_common(60))}
        scratch = self._out.with_suffix(".part")
        scratch.write_text(json.dumps(written))
        scratch.rename(self._out)

    def _take(self, _number: int, frame: FrameType | None) -> None:
        inner = frame
        while frame is not None:
            name = frame.f_code.co_filename
            part = self._files.get(name, "")
            if part == "":
                part = self._files[name] = _part(name)
            if part is not None:
                if inner is not None and inner.f_code.co_filename.endswith("/asyncio/runners.py"):
                    break
                self._counts[part] += 1
                if inner is not None:
                    self._lines[f"{part}: {_place(frame)} < {_place(inner)}"] += 1
                return
            frame = frame.f_back
        self._counts[WAITING] += 1


def _part(file: str) -> str | None:
    return next((part for piece, part in _PARTS if piece in file), None)


def _place(frame: FrameType) -> str:
    return f"{'/'.join(frame.f_code.co_filename.split('/')[-2:])}:{frame.f_code.co_name}"


def _cpu_by_thread() -> dict[str, float]:
    """CPU seconds of the threads of this process, those of a kind together."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    main, ticks = os.getpid(), os.sysconf("SC_CLK_TCK")
    seconds: Counter[str] = Counter()
    for task in Path("/proc/self/task").iterdir():
        try:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue  # it has ended meanwhile
        number = int(task.name)
        kind = "main" if number == main else _kind(names.get(number, ""))
        seconds[kind] += (int(fields[11]) + int(fields[12])) / ticks
    return dict(seconds)


def _kind(name: str) -> str:
    if name == "span-export":
        return "telemetry"
    return "parse and route" if name.startswith(("AnyIO", "asyncio", "watchdog")) else "database"


def main() -> None:
    """Run the service under the sampler."""
    Sampler(Path(os.environ["PROFILE_DIR"]) / f"{os.environ['INSTANCE']}.json").start()
    name = sys.argv.pop(1)
    runpy.run_module(f"services.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
