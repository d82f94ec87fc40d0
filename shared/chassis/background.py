"""Tasks that live as long as the service: restarted with backoff when they fail, cancelled when it drains."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import CollectorRegistry, Counter

_FIRST_WAIT, _MAX_WAIT = 0.2, 10.0
_STEADY_SECONDS = 60.0

log = structlog.get_logger()


class Background:
    """The background tasks of one service."""

    def __init__(self, metrics: CollectorRegistry) -> None:
        self._runs: dict[str, Callable[[], Awaitable[None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._failures = Counter(
            "background_failures_total", "Background tasks that ended and were restarted", ["task"], registry=metrics
        )

    def add(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Have `run()` running from start to drain. It should never return."""
        self._runs[name] = run

    def start(self) -> None:
        """Start them all."""
        self._tasks = [asyncio.create_task(self._supervise(name, run), name=name) for name, run in self._runs.items()]

    async def stop(self) -> None:
        """Cancel them all and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        loop, wait = asyncio.get_running_loop(), _FIRST_WAIT
        while True:
            started = loop.time()
            try:
                await run()
                log.error("background task returned", task=name)
            except Exception:
                log.exception("background task failed", task=name)
            self._failures.labels(name).inc()
            wait = _FIRST_WAIT if loop.time() - started > _STEADY_SECONDS else min(wait * 2, _MAX_WAIT)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
