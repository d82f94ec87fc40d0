"""Runs one function in several processes at once; a process is forked from one that has imported what it needs."""

import asyncio
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.chassis.database import Database
from shared.chassis.migrations import migrate
from tests.integration.chassis.notes import add

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.integration.chassis.processes"])


def together(function: Callable[..., str], arguments: list[tuple[Any, ...]]) -> list[str]:
    """What `function` returned, or the error that it raised, in each process. All begin at the same moment."""
    barrier, answers = _CONTEXT.Barrier(len(arguments)), _CONTEXT.Queue()
    processes = [_CONTEXT.Process(target=_run, args=(function, given, barrier, answers)) for given in arguments]
    for process in processes:
        process.start()
    try:
        return [answers.get(timeout=60) for _ in processes]
    finally:
        for process in processes:
            process.join(10)
            process.kill()


def _run(function: Callable[..., str], arguments: tuple[Any, ...], barrier: Any, answers: Any) -> None:
    barrier.wait(60)
    try:
        answers.put(function(*arguments))
    except Exception as error:  # noqa: BLE001 - whatever it is, the test shall see it
        answers.put(f"{type(error).__name__}: {error}")


def apply_migrations(url: str, directory: Path) -> str:
    """Migrate, and return the revision."""

    async def run() -> str:
        database = Database(url)
        try:
            return await migrate(database, directory)
        finally:
            await database.close()

    return asyncio.run(run())


def write_notes(url: str, name: str, first: int, number: int) -> str:
    """Add that many notes, one transaction each."""

    async def run() -> str:
        database = Database(url, synchronous="normal")
        try:
            for identifier in range(first, first + number):
                async with database.write() as connection:
                    await add(connection, identifier, name)
        finally:
            await database.close()
        return name

    return asyncio.run(run())


def ping(url: str) -> str:
    """Open the database, ask it something, close it."""

    async def run() -> str:
        database = Database(url)
        try:
            await database.ping()
        finally:
            await database.close()
        return "pong"

    return asyncio.run(run())
