"""Liveness, readiness and startup, as Kubernetes asks for them and as people read them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Check = Callable[[], Awaitable[None]]
_CHECK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Dependency:
    check: Check
    required: bool


class Health:
    """What a service depends on, and whether it can work.

    A dependency that is down makes the service unready only when it is required: the order service without payment
    still takes orders, so taking it out of the mesh would turn a partial failure into a whole one.
    """

    def __init__(self) -> None:
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
        answers = await asyncio.gather(*(self._ask(dependency) for dependency in self._dependencies.values()))
        dependencies: dict[str, Any] = {}
        ready = self.started and not self.draining
        for (name, dependency), failure in zip(self._dependencies.items(), answers, strict=True):
            dependencies[name] = {"status": "down" if failure else "up", "required": dependency.required}
            if failure:
                dependencies[name]["reason"] = failure
                ready = ready and not dependency.required
        status = "ready" if ready else "draining" if self.draining else "not ready"
        details = {name: read() for name, read in self._details.items()}
        return ready, {"status": status, "dependencies": dependencies, **details}

    @staticmethod
    async def _ask(dependency: _Dependency) -> str | None:
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await dependency.check()
        except TimeoutError:
            return f"no answer within {_CHECK_SECONDS:g} s"
        except Exception as error:  # noqa: BLE001 - whatever a check raises means that the dependency is down
            return type(error).__name__
        return None
