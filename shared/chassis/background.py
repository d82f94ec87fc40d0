"""Tasks that live as long as the service: restarted with backoff when they fail, cancelled when it drains."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

_FIRST_WAIT, _MAX_WAIT = 0.2, 10.0
_STEADY_SECONDS = 60.0
_ASK_AGAIN_SECONDS = 0.1

log = structlog.get_logger()


class Background:
    """The background tasks of one service.

    monotonic, sleep, jitter: time and chance, replaced in tests; `jitter()` is the share of a wait, 0.5 to 1
    """

    def __init__(
        self,
        metrics: CollectorRegistry,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = lambda: random.uniform(0.5, 1.0),  # noqa: S311 - no secret
    ) -> None:
        self._monotonic, self._sleep, self._jitter = monotonic, sleep, jitter
        self._runs: dict[str, Callable[[], Awaitable[None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._failures = Counter(
            "background_failures_total", "Background tasks that ended and were restarted", ["task"], registry=metrics
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        # counted when scraped, by the thread that writes the metrics
        Gauge("asyncio_tasks", "Tasks of the event loop under way", registry=metrics).set_function(self._count)

    def add(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Have `run()` running from start to drain. It should never return."""
        if name in self._runs:
            raise ValueError(f"there is a background task {name!r} already")
        self._runs[name] = run
        self._failures.labels(name)  # from the start at 0: the first failure is an increase, too

    def start(self) -> None:
        """Start them all."""
        self._loop = asyncio.get_running_loop()
        self._tasks = [asyncio.create_task(self._supervise(name, run), name=name) for name, run in self._runs.items()]

    async def stop(self, seconds: float = 1.0) -> None:
        """Cancel them all and wait until they have ended, at most so long."""
        pending, until = set(self._tasks), self._monotonic() + seconds
        while pending:
            for task in pending:
                task.cancel()  # again and again: code that races a timeout can lose one
            _, pending = await asyncio.wait(pending, timeout=_ASK_AGAIN_SECONDS)
            if pending and self._monotonic() >= until:
                log.error("background tasks do not end", tasks=sorted(task.get_name() for task in pending))
                break
        await asyncio.gather(*(task for task in self._tasks if task.done()), return_exceptions=True)
        self._tasks = []

    def _count(self) -> int:
        """All tasks of the process, those of requests too: what leaks shows in their number."""
        return 0 if self._loop is None else len(asyncio.all_tasks(self._loop))

    async def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        wait = _FIRST_WAIT
        while True:
            started = self._monotonic()
            try:
                await run()
                if not _is_cancelled():
                    log.error("background task returned", task=name)
            except asyncio.CancelledError:
                if _is_cancelled():
                    raise
                log.exception("background task waited for what was cancelled", task=name)
            except Exception:
                log.exception("background task failed", task=name)
            if _is_cancelled():
                return  # the task swallowed the cancellation, but ended by it
            self._failures.labels(name).inc()
            if self._monotonic() - started > _STEADY_SECONDS:
                wait = _FIRST_WAIT
            await self._sleep(wait * self._jitter())
            wait = min(wait * 2, _MAX_WAIT)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
