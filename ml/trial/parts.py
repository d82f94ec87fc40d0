"""The processes of a trial beside its platform: the predictor, the remediator, and the person who answers it."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import structlog

from ml.campaigns.platform import Layout
from ml.features.signals import Scale

log = structlog.get_logger()

_ROOT = Path(__file__).resolve().parents[2]
_READY_SECONDS, _END_SECONDS = 60.0, 15.0
_OPERATOR = "operator of the trial"


class PartFailed(Exception):
    """A process of the trial did not start, or ended."""


@contextlib.asynccontextmanager
async def process(words: Sequence[str], environment: Mapping[str, str], printed: Path) -> AsyncIterator[None]:
    """`python -m ...` inside the block; ended, as a whole group, after it."""
    with printed.open("ab") as file:
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *words, cwd=_ROOT, env=dict(environment), stdin=asyncio.subprocess.DEVNULL,
            stdout=file, stderr=asyncio.subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield
        if started.returncode is not None:
            raise PartFailed(f"{words[0]} ended with {started.returncode}: {printed}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(asyncio.shield(started.wait()), _END_SECONDS)
        except TimeoutError:
            os.killpg(started.pid, signal.SIGKILL)
            await started.wait()


async def ready(client: httpx.AsyncClient, url: str) -> None:
    """Return as soon as the address answers 200. Raises PartFailed: not in time."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _READY_SECONDS
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if (await client.get(url)).status_code == httpx.codes.OK:
                return
        if loop.time() > until:
            raise PartFailed(f"{url}: not ready within {_READY_SECONDS:.0f} s")
        await asyncio.sleep(0.2)


def predictor_environment(layout: Layout, prometheus: str, models: Path, keys: str, scale: Scale) -> dict[str, str]:
    """The predictor's settings for this platform."""
    return layout.environment() | {
        "PROMETHEUS_URL": prometheus,
        "MODEL_DIR": str(models),
        "TRUSTED_KEYS": keys,
        "MINUTE_SECONDS": f"{scale.minute:g}",
        "MEMORY_BYTES": f"{scale.memory_bytes:.0f}",
        "PORT": str(layout.predictor_port),
    }


def remediator_words(
    layout: Layout, prometheus: str, policy: Path, mode: str, scale: Scale, directory: Path
) -> tuple[str, ...]:
    """The remediator's command line for this platform; `directory` is where it writes its audit."""
    return (
        "ml.remediation", "--mode", mode, "--policy", str(policy), "--minute", f"{scale.minute:g}",
        "--predictor", f"http://127.0.0.1:{layout.predictor_port}", "--prometheus", prometheus,
        "--port", str(layout.remediation_port), "--directory", str(directory),
        "--token-file", str(layout.directory / "secrets/operator/admin_token"),
    )  # fmt: skip


async def answer_questions(client: httpx.AsyncClient, layout: Layout, patience: float) -> None:
    """Approve whatever is asked after so many seconds, as a person on duty would, until cancelled."""
    url = f"http://127.0.0.1:{layout.remediation_port}/approvals"
    token = (layout.directory / "secrets/operator/admin_token").read_text(encoding="utf-8").strip()
    headers, seen = {"Authorization": f"Bearer {token}"}, dict[str, float]()
    clock = asyncio.get_running_loop().time
    while True:
        with contextlib.suppress(httpx.HTTPError):
            for question in _waiting((await client.get(url, headers=headers)).json()):
                if clock() - seen.setdefault(question, clock()) >= patience:
                    said = {"decision": "approve", "by": _OPERATOR}
                    await client.post(f"{url}/{question}", headers=headers, json=said)
                    log.info("approved", question=question)
        await asyncio.sleep(0.5)


def _waiting(questions: list[dict[str, Any]]) -> list[str]:
    return [str(each["id"]) for each in questions if each["open"]]
