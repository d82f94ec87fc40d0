"""What a replica does while another process migrates its database: it answers that it has not started, and looks."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import structlog
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from shared.chassis.database import Database, DatabaseDamaged, DatabaseUnavailable
from shared.chassis.migrations import SchemaBehind, require_migrated
from shared.chassis.problems import Problem

LOOK_EVERY_SECONDS = 0.5

log = structlog.get_logger()


class WaitingRoom:
    """An ASGI application that stands in for a service until its database is migrated.

    `/health/live` answers 200, everything else 503. `leave()` is called, once, when the database is as the service
    needs it (`migrated`), or never will be (`failure` says why).
    """

    def __init__(
        self, url: str, directory: Path, leave: Callable[[], None], *, look_every: float = LOOK_EVERY_SECONDS
    ) -> None:
        self._url, self._directory, self._leave, self._every = url, directory, leave, look_every
        self.migrated = False
        self.failure: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the life of the room."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await _answer(scope, receive, send)

    async def _live(self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]], send: Send) -> None:
        await receive()
        looking = asyncio.create_task(self._look())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        await send({"type": "lifespan.shutdown.complete"})

    async def _look(self) -> None:
        database, told = Database(self._url), ""
        try:
            while not self.migrated:
                try:
                    await require_migrated(database, self._directory)
                    self.migrated = True
                except DatabaseDamaged:
                    raise
                except (SchemaBehind, DatabaseUnavailable) as reason:
                    if told != (told := str(reason)):
                        log.warning("waiting for the database to be migrated", reason=told)
                    await asyncio.sleep(self._every)
        except Exception as failure:  # noqa: BLE001 - the process ends of it, and `serve` says why
            self.failure = failure
        finally:
            await database.close()
            self._leave()


async def is_migrated(url: str, directory: Path) -> bool:
    """Whether the database is ready for the service already. Raises `SchemaUnknown` or `DatabaseDamaged`."""
    database = Database(url)
    try:
        await require_migrated(database, directory)
    except DatabaseDamaged:
        raise
    except (SchemaBehind, DatabaseUnavailable):
        return False
    finally:
        await database.close()
    return True


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    response: Response
    if scope["path"] == "/health/live":
        response = JSONResponse({"status": "alive"})
    elif scope["path"] in ("/health/startup", "/health/ready"):
        response = JSONResponse({"status": "starting"}, 503)
    else:
        problem = Problem(503, "starting", "Starting", "the database is being migrated", headers={"Retry-After": "1"})
        response = problem.response(scope["path"])
    await response(scope, receive, send)
