"""The commands behind two levers: experiments and the auditor. What is run is configured, never sent by a browser."""

import asyncio
import contextlib
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import orjson
import structlog

from services.control_room.page.web import Away

_SAID = 2_000
_POLL_SECONDS = 0.25
_AUDIT_SECONDS, _AUDIT_PAUSE = 60.0, 3.0
_EXPERIMENT_SECONDS, _STOP_SECONDS = 1_800.0, 60.0

log = structlog.get_logger()


class Busy(Exception):
    """One runs already."""


class Auditor:
    """Runs the auditor, one at a time; remembers its last verdict."""

    def __init__(
        self,
        command: str,
        now: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
        elsewhere: str = "make audit",
    ) -> None:
        self._words, self._now, self._monotonic = shlex.split(command), now, monotonic
        self._elsewhere = elsewhere
        self._running: asyncio.Task[None] | None = None
        self._ended = float("-inf")
        self._last: dict[str, Any] | None = None

    async def read(self) -> dict[str, Any]:
        """`{"running", "last"}`; the verdict as the auditor writes it, with `at`. Raises `Away`."""
        self._configured()
        return {"running": self.running, "last": self._last}

    @property
    def running(self) -> bool:
        """One reads just now."""
        return _alive(self._running)

    def start(self) -> None:
        """Begin an audit. Raises `Away`, `Busy`."""
        self._configured()
        if self.running or self._monotonic() - self._ended < _AUDIT_PAUSE:
            raise Busy("the auditor is at work, or has just been")
        self._running = asyncio.create_task(self._audit())

    async def close(self) -> None:
        """End what runs."""
        await _cancelled(self._running)

    def _configured(self) -> None:
        if not self._words:
            raise Away(f"The auditor is not beside this page: {self._elsewhere}")

    async def _audit(self) -> None:
        with tempfile.TemporaryDirectory(prefix="holdfast-audit-") as directory:
            report = Path(directory) / "audit.json"
            try:
                code, said = await _run([*self._words, "--json", str(report)], _AUDIT_SECONDS)
                verdict = orjson.loads(report.read_bytes()) if report.exists() else {"away": said or f"exit {code}"}
            except Away as away:
                verdict = {"away": str(away)}
        self._last, self._ended = {**verdict, "at": self._now()}, self._monotonic()


class Runner:
    """Starts and stops experiments. They outlive this process: what runs is known from what the runner writes."""

    def __init__(self, command: str, elsewhere: str = "make chaos") -> None:
        self._words, self._elsewhere = shlex.split(command), elsewhere
        self._running: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self.said = ""

    def start(self, scenario: str) -> None:
        """Begin an experiment. Raises `Away`, `Busy`."""
        self._configured()
        if _alive(self._running):
            raise Busy("an experiment runs already")
        self._running = asyncio.create_task(self._await("run", scenario, seconds=_EXPERIMENT_SECONDS))

    def stop(self) -> None:
        """End the experiment that runs, whoever started it, and every fault everywhere. Raises `Away`, `Busy`."""
        self._configured()
        if _alive(self._stopping):
            raise Busy("it is being stopped already")
        self._stopping = asyncio.create_task(self._await("stop", seconds=_STOP_SECONDS))

    @property
    def busy(self) -> bool:
        """An experiment that was started here has not ended."""
        return _alive(self._running)

    @property
    def stopping(self) -> bool:
        """One is just being stopped."""
        return _alive(self._stopping)

    async def close(self) -> None:
        """Stop waiting; the experiment goes on, and ends its faults itself."""
        await _cancelled(self._running)
        await _cancelled(self._stopping)

    def _configured(self) -> None:
        if not self._words:
            raise Away(f"The runner of experiments is not beside this page: {self._elsewhere}")

    async def _await(self, *words: str, seconds: float) -> None:
        self.said = ""
        try:
            code, said = await _run([*self._words, *words], seconds, outlives=True)
            self.said = said if code else ""
        except Away as away:
            self.said = str(away)


def _alive(task: asyncio.Task[None] | None) -> bool:
    return task is not None and not task.done()


async def _cancelled(task: asyncio.Task[None] | None) -> None:
    if task is not None and not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _run(words: list[str], seconds: float, *, outlives: bool = False) -> tuple[int, str]:
    """Run to the end: exit code, and the last of what it said. Raises `Away`.

    What outlives us is no child of the event loop: asyncio kills its children when it closes.
    """
    with tempfile.TemporaryFile(prefix="holdfast-command-") as said:
        process = await asyncio.to_thread(_spawn, words, said)
        try:
            async with asyncio.timeout(seconds):
                while process.poll() is None:  # noqa: ASYNC110 - a process of Popen has no event
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise Away(f"it took more than {seconds:.0f} s") from None
        finally:
            if process.poll() is None and not outlives:
                process.kill()
                await asyncio.to_thread(process.wait)
        said.seek(max(0, said.tell() - _SAID))
        text = said.read().decode("utf-8", "replace").strip()
    log.warning("command ended", command=words[-3:], code=process.returncode)
    return process.returncode, text


def _spawn(words: list[str], said: IO[bytes]) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(  # noqa: S603 - words of the configuration, and names that were checked
            words, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:
        raise Away(f"{words[0]}: {error.strerror}") from None
