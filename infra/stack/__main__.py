"""The commands of make for whichever stack it is: `python -m infra.stack up`, then `status`, `scale payment 3`, `down`.

`--stack auto` starts containers when an engine answers and the images can be had, else processes, and says why. Every
later command goes to the stack that was started.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from infra.compose import __main__ as compose
from infra.compose.engine import find
from infra.local import __main__ as local
from infra.local import show, sources
from infra.local.errors import SettingsError, StackError
from infra.stack import tools
from infra.stack.choice import NAMES, Name, Remembered, to_start

EX_CONFIG = 78

_MAIN: dict[Name, Callable[[list[str]], int]] = {"local": local.main, "compose": compose.main}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.stack", description=__doc__)
    parser.add_argument("--stack", default="auto", help="auto (default), local or compose")
    parser.add_argument("command", help="up, down, status, logs, scale, restart, room, audit, ...")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="as the stack's own command takes it")
    chosen = parser.parse_args(arguments)
    try:
        return _run(chosen.stack, chosen.command, chosen.rest)
    except SettingsError as error:
        show.failure(error)
        return EX_CONFIG
    except StackError as error:
        show.failure(error)
        return 1


def _run(wanted: str, command: str, rest: list[str]) -> int:
    remembered = Remembered(sources.load())
    if command == "up":
        choice = to_start(wanted, sources.load(), find)
        show.console.print(f"The stack is '{choice.stack}': {choice.why}.", soft_wrap=True)
        remembered.write(choice.stack)
        return _MAIN[choice.stack](["up", *rest])
    stack = _meant(wanted, remembered)
    if command in tools.MODULES:
        return tools.run(stack, command, rest)
    code = _MAIN[stack]([command, *rest])
    if command in ("down", "reset") and code == 0:
        remembered.forget()
    return code


def _meant(wanted: str, remembered: Remembered) -> Name:
    if wanted == "auto":
        return remembered.read() or "local"
    for name in NAMES:
        if name == wanted:
            return name
    raise StackError(f"STACK={wanted}: there are auto, local and compose.")


if __name__ == "__main__":
    sys.exit(main())
