"""`python -m ml.remediation --mode shadow`: watch the predictor, and act as the policy lets it, every minute.

`python -m ml.remediation stop` throws the kill switch, `resume` takes it back, `audit` shows what was done.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from random import SystemRandom
from secrets import token_hex

import httpx
import structlog

from ml.remediation.acting import Acting
from ml.remediation.actuators.advice import AdviceActuator
from ml.remediation.actuators.local import LocalActuator
from ml.remediation.actuators.protocol import Actuator, ActuatorError
from ml.remediation.api import LOOPBACK, create_app, serving
from ml.remediation.approvals import Approvals
from ml.remediation.audit import Audit, AuditUnavailable, Record, read
from ml.remediation.decide import Decider
from ml.remediation.loop import Files, Remediator, every_minute
from ml.remediation.metrics import Metrics
from ml.remediation.policy import DEFAULT, Mode, PolicyError
from ml.remediation.sources import Sources

EX_CONFIG, EX_TEMPFAIL = 78, 75

log = structlog.get_logger()


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code: 78 for a policy that cannot be used, 75 when another process acts."""
    chosen = _parse(arguments)
    chosen.directory.mkdir(parents=True, exist_ok=True)
    if chosen.command == "stop":
        _stop_file(chosen).touch(mode=0o600)
        sys.stdout.write("Nothing is done any more, until: python -m ml.remediation resume\n")
    elif chosen.command == "resume":
        _stop_file(chosen).unlink(missing_ok=True)
        sys.stdout.write("The kill switch is off.\n")
    elif chosen.command == "audit":
        for record in read(chosen.directory / "audit.jsonl").values():
            sys.stdout.write(f"{_line(record)}\n")
    else:
        return _run(chosen)
    return 0


def _run(chosen: argparse.Namespace) -> int:
    try:
        asyncio.run(_remediate(chosen))
    except PolicyError as error:
        sys.stderr.write(f"{error}\n")
        return EX_CONFIG
    except (AuditUnavailable, ActuatorError) as error:
        sys.stderr.write(f"{error}\n")
        return EX_TEMPFAIL
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0
    return 0


async def _remediate(chosen: argparse.Namespace) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        for interruption in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(interruption, task.cancel)
    actuator = await _actuator(chosen)
    async with contextlib.AsyncExitStack() as held:
        audit = held.enter_context(Audit(chosen.directory / "audit.jsonl"))
        client = await held.enter_async_context(httpx.AsyncClient(timeout=5, trust_env=False))
        decider, metrics, approvals = Decider.fresh(SystemRandom().random, _new_id), Metrics(), Approvals(time.time)
        acting = Acting(actuator, audit, decider, metrics, time.time, chosen.minute)
        remediator = Remediator(
            Files(chosen.policy, _stop_file(chosen)),
            Sources(client, chosen.predictor, chosen.prometheus, minute=chosen.minute),
            actuator, acting, decider, approvals, metrics, time.time, _new_id, chosen.minute, chosen.mode,
        )  # fmt: skip
        held.push_async_callback(acting.stop)
        await remediator.begin()
        token = _token(chosen)
        if token:
            await held.enter_async_context(
                serving(create_app(remediator, approvals, metrics, token), chosen.port, chosen.host)
            )
        log.info(
            "remediation", mode=remediator.policy.mode, actuator=actuator.name, port=chosen.port if token else None
        )
        if chosen.once:
            await remediator.minute()
            await acting.settled()
            return
        await every_minute(remediator, chosen.minute, time.monotonic)


async def _actuator(chosen: argparse.Namespace) -> Actuator:
    if chosen.actuator == "local":
        return LocalActuator(os.environ)
    if chosen.actuator == "advice":
        return AdviceActuator(chosen.names.split())
    # an extra: who acts on the local stack does without its 20 MB
    from ml.remediation.actuators.kubernetes import KubernetesActuator, connect

    return KubernetesActuator(await asyncio.to_thread(connect), chosen.namespace)


def _token(chosen: argparse.Namespace) -> str:
    try:
        return str(chosen.token_file.read_text(encoding="utf-8").strip())
    except OSError as error:
        log.warning("no token, so nobody can approve", file=str(chosen.token_file), why=error.strerror)
        return ""


def _new_id() -> str:
    return token_hex(6)


def _stop_file(chosen: argparse.Namespace) -> Path:
    return Path(chosen.directory / "stop")


def _line(record: Record) -> str:
    planned = record.action
    done = f"{planned.kind} {planned.service} {planned.before}->{planned.to}" if planned else "-"
    parts = [record.outcome or record.stage, record.verification, record.rollback and f"rollback {record.rollback}"]
    came = ", ".join(part for part in parts if part)
    return (
        f"{record.began:%Y-%m-%d %H:%M:%S} {record.id} {record.mode} {record.service} {done}: {came} ({record.reason})"
    )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.remediation", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("run", "stop", "resume", "audit"), default="run")
    parser.add_argument("--mode", type=Mode, choices=list(Mode), default=None, help="instead of the policy's")
    parser.add_argument("--policy", type=Path, default=DEFAULT)
    parser.add_argument("--actuator", choices=("local", "kubernetes", "advice"), default="local")
    parser.add_argument("--names", default="", help="advice: host names whose addresses are replicas: order=order")
    parser.add_argument("--namespace", default="holdfast", help="of the Deployments")
    parser.add_argument("--predictor", default="http://127.0.0.1:8095")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--directory", type=Path, default=Path(".local/remediation"), help="audit and kill switch")
    parser.add_argument("--token-file", type=Path, default=Path(".local/secrets/operator/admin_token"))
    parser.add_argument("--port", type=int, default=8096, help="of approvals and numbers")
    parser.add_argument("--host", default=LOOPBACK, help="address that it listens on; an image's is 0.0.0.0")
    parser.add_argument("--minute", type=float, default=60.0, help="seconds that count as a minute")
    parser.add_argument("--once", action="store_true", help="one turn, then end")
    return parser.parse_args(arguments)
