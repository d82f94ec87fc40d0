"""The stack on this machine, through its commands: the supervisor runs the replicas, Envoy spreads the requests."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from ml.remediation.actuators.protocol import ActuatorError, Failure
from ml.remediation.limits import Fleet

_ROOT = Path(__file__).resolve().parents[3]
_STATUS_SECONDS, _ACTION_SECONDS, _GRACE_SECONDS = 20.0, 240.0, 10.0
_DOWN, _NOT_WELL = 3, 1


class LocalActuator:
    """Runs `python -m infra.local ...`.

    environment: of the commands; it says which stack (`HOLDFAST_STATE_DIR` and so on)
    command:     what to run instead, before the words of the command
    seconds:     what an action may take
    """

    name = "local"

    def __init__(
        self,
        environment: Mapping[str, str],
        command: Sequence[str] = (sys.executable, "-m", "infra.local"),
        seconds: float = _ACTION_SECONDS,
    ) -> None:
        self._environment, self._command, self._seconds = dict(environment), tuple(command), seconds

    async def fleet(self, service: str) -> Fleet:
        """Replicas that should run, spare slots not counted."""
        wanted = [each for each in await self._replicas(service) if each["state"] != "STOPPED"]
        return Fleet(len(wanted), sum(bool(each["ready"]) for each in wanted))

    async def scale(self, service: str, *, before: int, to: int) -> str:
        """As in the protocol; the command returns when the replicas are ready and Envoy routes to them."""
        found = (await self.fleet(service)).wanted
        if found != before:
            raise ActuatorError(Failure.CONFLICT, f"{service} has {found} replicas, not {before}: left as it is")
        return await self._act("scale", service, str(to))

    async def restart(self, service: str) -> str:
        """As in the protocol; each replica leaves the mesh before it stops, those first that are not ready."""
        return await self._act("restart", service)

    async def drain(self, service: str, seconds: float) -> str:
        """As in the protocol: the oldest ready replica; the stack keeps the lease.

        The oldest has had most time to go wrong, and the youngest may be the one that was just added to help.
        """
        ready = [each for each in await self._replicas(service) if each["ready"]]
        if len(ready) < 2:
            raise ActuatorError(Failure.REFUSED, f"{len(ready)} replica of {service} is ready: nobody would serve")
        program = str(max(ready, key=lambda each: float(each["uptime"]))["name"])
        await self._act("drain", program, "--seconds", f"{seconds:g}")
        return program

    async def undrain(self, service: str, drained: str) -> str:  # noqa: ARG002 - the program says it all
        """As in the protocol."""
        return await self._act("undrain", drained)

    async def _replicas(self, service: str) -> list[dict[str, Any]]:
        code, printed = await self._run(_STATUS_SECONDS, "status", "--json")
        if code == _DOWN:
            raise ActuatorError(Failure.UNAVAILABLE, "the stack is down")
        try:
            told = orjson.loads(printed)
            replicas = [each for each in told if str(each["name"]).rpartition("-")[0] == service]
            _ = [(each["state"], each["ready"], each["uptime"]) for each in replicas]
        except (ValueError, TypeError, KeyError) as error:
            raise ActuatorError(Failure.UNAVAILABLE, f"no status of the stack: {printed.strip()[-300:]}") from error
        if code not in (0, _NOT_WELL):
            raise ActuatorError(Failure.UNAVAILABLE, printed.strip()[-300:])
        if not replicas:
            raise ActuatorError(Failure.MISSING, f"the stack has no service {service}")
        return replicas

    async def _act(self, *words: str) -> str:
        code, printed = await self._run(self._seconds, *words)
        text = printed.strip()[-500:]
        if code:
            raise ActuatorError(Failure.REFUSED, f"{' '.join(words)}: {text or f'exit code {code}'}")
        return text

    async def _run(self, seconds: float, *words: str) -> tuple[int, str]:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, *words,
                cwd=_ROOT, env=self._environment, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
        except OSError as error:
            raise ActuatorError(Failure.UNAVAILABLE, f"{' '.join(words)}: {error}") from error
        try:
            async with asyncio.timeout(seconds):
                printed, _ = await process.communicate()
        except TimeoutError as error:
            raise ActuatorError(Failure.TIMEOUT, f"{' '.join(words)}: not done in {seconds:g} s") from error
        finally:
            await asyncio.shield(_end(process))
        return process.returncode or 0, printed.decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Interrupt a command that still runs: what it has started goes on, and it lets go of the stack's lock."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
