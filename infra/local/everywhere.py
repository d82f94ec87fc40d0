"""The end of all faults on purpose, wherever they are: the stack's, the mesh's, and those inside every replica."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx

from infra.envoy.admin import AdminError
from infra.local import envoy
from infra.local.errors import StackError
from infra.local.faults import StackFaults
from infra.local.programs import Program
from infra.local.secrets import OPERATOR
from infra.local.stack import LocalStack
from infra.mesh import faults as mesh_faults

_REQUEST_SECONDS = 5.0

Ended = tuple[str, int]
"""What was ended, and how many of it."""


def end_everything(stack: LocalStack) -> list[str]:
    """End every fault that there is; returns what was ended, a line each.

    Raises:
        StackError: some replica did not do it. Everything else has been ended, and what it has ends by its own time.
    """
    lines, failures = [], []
    try:
        lines = [f"{each}: ended" for each in StackFaults(stack).clear()]
    except StackError as error:
        failures.append(error.problem)
    if stack.running():
        failures += _end_in_mesh(stack)
        ended, failed = asyncio.run(_end_inside(stack, stack.running_replicas()))
        lines += ended
        failures += failed
    if failures:
        raise StackError("\n".join([*lines, *failures]), "What could not be ended here ends by its own time to live.")
    return lines


def _end_in_mesh(stack: LocalStack) -> list[str]:
    """Those too that somebody has set without a lease."""
    if stack.running_program(envoy.PROGRAM):
        try:
            mesh_faults.clear(envoy.admin_socket(stack.state))
        except AdminError as error:
            return [str(error)]
    return []


async def _end_inside(stack: LocalStack, replicas: list[Program]) -> tuple[list[str], list[str]]:
    token = stack.secret(OPERATOR, "admin_token")
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers, timeout=_REQUEST_SECONDS, trust_env=False) as client:
        outcomes = await asyncio.gather(*(_end_in(client, stack.url(each.name), each) for each in replicas))
    return [line for ended, _ in outcomes for line in ended], [failure for _, failure in outcomes if failure]


async def _end_in(client: httpx.AsyncClient, url: str, replica: Program) -> tuple[list[str], str]:
    lines = []
    try:
        async for what, number in _switch_off(client, url, replica):
            if number:
                lines.append(f"{replica.name}: {what}, {number} ended")
    except httpx.ConnectError:
        return lines, ""  # it just starts or stops: nothing inside a process outlives it
    except httpx.HTTPError as error:
        return lines, f"{replica.name}: {type(error).__name__} {error}".strip()
    return lines, ""


async def _switch_off(client: httpx.AsyncClient, url: str, replica: Program) -> AsyncIterator[Ended]:
    module = replica.service.module if replica.service else ""
    answer = await client.delete(f"{url}/admin/faults")
    if answer.status_code != httpx.codes.NOT_FOUND:  # faults are switched off there
        yield "faults", _body(answer)["cleared"]
    if module == "order":
        pipelines = _body(await client.get(f"{url}/admin/resilience", params={"events": 0}))["items"]
        for pipeline in pipelines:
            if pipeline["faults"]:
                path = f"{url}/admin/resilience/{pipeline['name']}/faults"
                yield f"faults of {pipeline['name']}", _body(await client.delete(path))["cleared"]
    if module == "payment":
        before = _body(await client.get(f"{url}/admin/card-network"))
        if before["current"] != before["configured"]:
            _body(await client.put(f"{url}/admin/card-network", json={}))
            yield "switch of the card network", 1


def _body(answer: httpx.Response) -> Any:
    answer.raise_for_status()
    return answer.json()
