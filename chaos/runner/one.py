"""One experiment at a time: two faults at once would each spoil the other's verdict."""

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from chaos.targets.target import Target, TargetError

_STOP_SECONDS, _LOOK_SECONDS = 30.0, 0.1


@contextlib.contextmanager
def alone(target: Target, what: str) -> Iterator[None]:
    """Hold the target for one experiment.

    Raises:
        TargetError: another one holds it; says which.
    """
    target.runs.mkdir(parents=True, exist_ok=True)
    with _file(target).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(target) or {"what": "an experiment"}
            raise TargetError(f"{holder['what']} is under way. Wait for it, or: make chaos-stop") from None
        file.truncate(0)
        file.write(json.dumps({"what": what, "pid": os.getpid(), "created": psutil.Process().create_time()}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def stop_running(target: Target) -> str:
    """Ask the experiment that is under way to end, and wait for it; returns its name, or nothing when there is none."""
    holder = _holder(target)
    if not holder:
        return ""
    try:
        process = psutil.Process(int(str(holder["pid"])))
        # The number may be somebody else's by now.
        if process.create_time() != holder["created"]:
            return ""
        process.send_signal(signal.SIGTERM)
        patience = time.monotonic() + _STOP_SECONDS
        # One that has ended and that its parent does not look after stays in the list as a zombie.
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > patience:
                return f"{holder['what']} (it still ends: {time.strftime('%H:%M:%S')})"
            time.sleep(_LOOK_SECONDS)
    except psutil.NoSuchProcess:
        pass
    return str(holder["what"])


def _holder(target: Target) -> dict[str, object]:
    try:
        text = _file(target).read_text(encoding="utf-8")
        found = json.loads(text) if text else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _file(target: Target) -> Path:
    return target.runs / "running.json"
