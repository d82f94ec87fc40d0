"""Generates the supervisor's configuration and starts it.

Who restarts what: the supervisor only starts, stops, watches and logs. Its own restarts do not fit: they give up after
a number of tries, and they forget the exit code of a program that ended quickly, so a wrong configuration cannot be
told from a crash. The reviver (`reviver.py`), an event listener under the same supervisor, has the one restart policy.
"""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from infra.local import nats
from infra.local.control import Control
from infra.local.errors import StackError
from infra.local.programs import Program, base_environment
from infra.local.reviver import EVENTS
from infra.local.settings import ROOT, LocalSettings
from infra.local.state import StateDirectory

_LOG_BACKUPS = 2
_START_SECONDS = 45.0


def write_configuration(settings: LocalSettings, state: StateDirectory, programs: list[Program]) -> Path:
    """Write `supervisord.conf`, readable by its owner only."""
    path = state.run / "supervisord.conf"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        path.chmod(0o600)
        file.write(render(settings, state, programs))
    return path


def render(settings: LocalSettings, state: StateDirectory, programs: list[Program]) -> str:
    """The configuration as text. It holds no secret: programs get the directory of theirs."""
    socket = state.socket()
    sections = [
        _section(
            "supervisord",
            {
                "logfile": _literal(state.logs / "supervisord.log"),
                "logfile_maxbytes": f"{settings.log_max_mb}MB",
                "logfile_backups": 1,
                "pidfile": _literal(state.run / "supervisord.pid"),
                "childlogdir": _literal(state.logs),
                "directory": _literal(ROOT),
                "identifier": "holdfast",
                "minfds": 4096,
                "umask": "077",
                **_root_user(),
            },
        ),
        _section("unix_http_server", {"file": _literal(socket), "chmod": "0600"}),
        _section(
            "rpcinterface:supervisor",
            {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
        _reviver(settings, state, socket),
        *(_program(settings, state, program) for program in programs),
    ]
    return "\n".join(sections)


def start(state: StateDirectory, configuration: Path) -> None:
    """Start the supervisor as a daemon and wait until it answers.

    Raises:
        StackError: it refused its configuration or did not answer within 45 s.
    """
    done = subprocess.run(  # noqa: S603 - our own interpreter, our own file
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
        cwd=ROOT,
        env=base_environment(state),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_START_SECONDS,
        check=False,
    )
    if done.returncode:
        raise StackError(f"The supervisor did not start:\n{(done.stderr or done.stdout).strip()}")
    control = Control(state.socket())
    deadline = time.monotonic() + _START_SECONDS
    while not control.running():
        if time.monotonic() > deadline:
            raise StackError("The supervisor does not answer.", f"Its log: {state.logs / 'supervisord.log'}")
        time.sleep(0.02)


def _program(settings: LocalSettings, state: StateDirectory, program: Program) -> str:
    options: dict[str, object] = {
        "command": _escaped(shlex.join(program.command)),
        "directory": _literal(ROOT),
        "environment": _environment(program.environment),
        "autostart": "false" if program.service or program.optional else "true",
        "priority": 200 if program.service or program.optional else 100,
        # Zero seconds: what ends, ends as EXITED with its exit code kept, however short it lived.
        "startsecs": 0,
        "startretries": 0,
        "autorestart": "false",
        "exitcodes": 0,
        "stopsignal": program.stop_signal,
        "stopwaitsecs": program.stop_wait,
        "stopasgroup": "false" if program.user else "true",
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _twice(state.logs / f"{program.name}.log"),
        "stdout_logfile_maxbytes": f"{settings.log_max_mb}MB",
        "stdout_logfile_backups": _LOG_BACKUPS,
    }
    if program.user:
        options["user"] = program.user
        options["umask"] = "077"
    return _section(f"program:{program.name}", options)


def _reviver(settings: LocalSettings, state: StateDirectory, socket: Path) -> str:
    paths = (socket, state.run / "restarts.json", state.faults)
    broker = (f"{nats.monitor_url(settings)}/healthz", str(nats.store(state)))
    words = [sys.executable, "-m", "infra.local.reviver", *map(str, paths), *broker]
    return _section(
        "eventlistener:reviver",
        {
            "command": _escaped(shlex.join(words)),
            "directory": _literal(ROOT),
            "events": ",".join(EVENTS),
            "buffer_size": 256,
            "autostart": "true",
            # Nobody revives the reviver but the supervisor itself, so here it must never give up.
            "autorestart": "true",
            "startsecs": 0,
            "startretries": 1_000_000,
            "priority": 1,
            "stdout_logfile": "NONE",
            "stderr_logfile": _twice(state.logs / "reviver.log"),
            "stderr_logfile_maxbytes": "1MB",
            "stderr_logfile_backups": 1,
        },
    )


def _root_user() -> dict[str, object]:
    # Without it supervisord warns, at every start, that it runs as root.
    return {"user": "root"} if os.geteuid() == 0 else {}


def _section(name: str, options: Mapping[str, object]) -> str:
    lines = [f"[{name}]", *(f"{key} = {value}" for key, value in options.items()), ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    # The parser expands %(name)s, and reads " ;" as the start of a comment.
    if "\n" in text or " ;" in text:
        raise StackError(f"The supervisor's configuration cannot hold {text!r}.", "Choose another path.")
    return text.replace("%", "%%")


def _literal(path: Path) -> str:
    return _escaped(str(path))


def _twice(path: Path) -> str:
    # A program's log file, and nothing else, goes through the parser's expansion two times.
    return _escaped(_literal(path))


def _environment(variables: Mapping[str, str]) -> str:
    return ",".join(f"{name}={_quoted(value)}" for name, value in variables.items())


def _quoted(value: str) -> str:
    quote = "'" if '"' in value else '"'
    if quote in value:
        raise StackError(f"A value for a program cannot hold both kinds of quotes: {value!r}.")
    return f"{quote}{_escaped(value)}{quote}"
