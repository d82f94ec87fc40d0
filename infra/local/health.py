"""Asks programs whether they can do their work."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx

from infra.envoy.admin import Admin
from infra.local import control_room, envoy, nats, page, ports, postgres, prediction, prometheus
from infra.local.programs import Program
from infra.local.settings import LocalSettings
from infra.local.state import StateDirectory

_REQUEST_SECONDS = 2.0


async def answers(client: httpx.AsyncClient, settings: LocalSettings, program: Program) -> str:
    """Ask one program once.

    Returns:
        An empty string when it is ready, else why it is not, in a few words.
    """
    try:
        if program.name == "postgres":
            return await postgres.answers(settings, StateDirectory(settings.state))
        if program.name == envoy.PROGRAM:
            admin = Admin(envoy.admin_socket(StateDirectory(settings.state)))
            return "" if await asyncio.to_thread(admin.ready) else "its administration does not say that it is live"
        response = await client.get(health_url(settings, program), timeout=_REQUEST_SECONDS)
    except httpx.TimeoutException:
        return f"no answer within {_REQUEST_SECONDS:.0f} s"
    except httpx.HTTPError:
        return f"nothing listens on port {program.port}"
    if response.status_code == 200:
        return ""
    return f"HTTP {response.status_code} {response.text[:200]}".strip()


def health_url(settings: LocalSettings, program: Program) -> str:
    """What a program's health is asked at."""
    if program.name == "nats":
        return f"{nats.monitor_url(settings)}/healthz"
    if program.name in prometheus.TOOLS:
        return f"http://{ports.LOOPBACK}:{program.port}/-/ready"
    if program.name == prediction.REMEDIATION:
        return f"http://{ports.LOOPBACK}:{program.port}/health/live"
    own = (control_room.PROGRAM, page.PROGRAM, prediction.PREDICTOR)
    host = ports.LOOPBACK if program.name in own else settings.host
    return f"http://{host}:{program.port}/health/ready"


async def ask_all(settings: LocalSettings, programs: list[Program]) -> dict[str, str]:
    """Ask many programs once, at the same time."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answered = await asyncio.gather(*(answers(client, settings, program) for program in programs))
    return {program.name: answer for program, answer in zip(programs, answered, strict=True)}


async def wait_until_ready(
    settings: LocalSettings,
    programs: list[Program],
    failed: Callable[[], Awaitable[str]],
    ready: Callable[[Program], None],
    seconds: float,
) -> dict[str, str]:
    """Ask until every program is ready, until one has failed for good, or until the time is up.

    Args:
        failed: names a program that will not come up any more, or returns an empty string.
        ready: told of each program once.
        seconds: the longest wait.

    Returns:
        What is not ready, with the reason; empty when all is well.
    """
    waiting = list(programs)
    reasons: dict[str, str] = {}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    async with httpx.AsyncClient(trust_env=False) as client:
        while waiting:
            answered = await asyncio.gather(*(answers(client, settings, program) for program in waiting))
            reasons = {program.name: answer for program, answer in zip(waiting, answered, strict=True) if answer}
            for program in waiting:
                if program.name not in reasons:
                    ready(program)
            waiting = [program for program in waiting if program.name in reasons]
            if not waiting or loop.time() >= deadline or await failed():
                break
            await asyncio.sleep(0.1)
    return reasons
