"""Liveness, readiness and startup, as Kubernetes asks for them and as people read them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Check = Callable[[], Awaitable[None]]
CHECK_SECONDS = 1.0
"""How long readiness waits for a dependency's answer."""


@dataclass(slots=True)
class _Dependency:
    check: Check
    required: bool
    asking: asyncio.Task[None] | None = None


class Health:
    """What a service depends on, and whether it can work.

    A dependency that is down makes the service unready only when it is required: the order service without payment
    still takes orders, so taking it out of the mesh would turn a partial failure into a whole one.
    """

    def __init__(self, check_seconds: float = CHECK_SECONDS) -> None:
        self._seconds = check_seconds
        self.started = False
        self.draining = False
        self._dependencies: dict[str, _Dependency] = {}
        self._details: dict[str, Callable[[], Any]] = {}

    def add(self, name: str, check: Check, *, required: bool) -> None:
        """Register a dependency; `check()` raises when it is down."""
        self._dependencies[name] = _Dependency(check, required)

    def add_detail(self, name: str, read: Callable[[], Any]) -> None:
        """Show `read()` (JSON) in the body of the readiness answer."""
        self._details[name] = read

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether the service can work, and the body that says why."""
        failures = await self._ask()
        dependencies: dict[str, Any] = {}
        ready = self.started and not self.draining
        for name, dependency in self._dependencies.items():
            failure = failures[name]
            dependencies[name] = {"status": "down" if failure else "up", "required": dependency.required}
            if failure:
                dependencies[name]["reason"] = failure
                ready = ready and not dependency.required
        status = "ready" if ready else "draining" if self.draining else "not ready"
        return ready, {"status": status, "dependencies": dependencies, **self._read_details()}

    async def _ask(self) -> dict[str, str | None]:
        """Ask all dependencies at once; a question that hangs is left behind, and not asked again until it ends."""
        asking = []
        for dependency in self._dependencies.values():
            if dependency.asking is None or dependency.asking.done():
                dependency.asking = asyncio.create_task(_run(dependency.check))
                dependency.asking.add_done_callback(_notice)
            asking.append(dependency.asking)
        if asking:
            await asyncio.wait(asking, timeout=self._seconds)
        return {name: self._failure(task) for name, task in zip(self._dependencies, asking, strict=True)}

    def _failure(self, asking: asyncio.Task[None]) -> str | None:
        if not asking.done():
            asking.cancel()
            return f"no answer within {self._seconds:g} s"
        if asking.cancelled():
            return "CancelledError"
        error = asking.exception()
        return None if error is None else type(error).__name__

    def _read_details(self) -> dict[str, Any]:
        details: dict[str, Any] = {}
        for name, read in self._details.items():
            try:
                details[name] = read()
            except Exception as error:  # noqa: BLE001 - a detail that cannot be read makes no service unready
                details[name] = f"unreadable: {type(error).__name__}"
        return details


async def _run(check: Check) -> None:
    await check()


def _notice(asking: asyncio.Task[None]) -> None:
    if not asking.cancelled():
        asking.exception()  # else asyncio complains about one that came too late to be told
