"""The command line of the local stack: `python -m infra.local up`, `status`, `scale payment 3`, ..."""

import argparse
import contextlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

from infra.local import fault_commands, logs, page, show, sources
from infra.local.errors import SettingsError, StackError
from infra.local.operator import operator_environment
from infra.local.remembered import in_force
from infra.local.stack import LocalStack

EX_CONFIG = 78


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    chosen = _parser().parse_args(arguments)
    run: Callable[[LocalStack, argparse.Namespace], int] = chosen.run
    try:
        # `make up PORT=9080`, then `make status`: what runs is asked by the settings that it was started with.
        fresh = run is up or (run is restart and not chosen.name)
        owner = getattr(chosen, "owner", 0)
        return run(LocalStack(sources.load() if fresh else in_force(), show.progress, owner=owner), chosen)
    except SettingsError as error:
        show.failure(error)
        return EX_CONFIG
    except StackError as error:
        show.failure(error)
        return 1
    except KeyboardInterrupt:
        show.errors.print("Interrupted. What was started goes on: make status, make down.")
        return 130


def up(stack: LocalStack, _chosen: argparse.Namespace) -> int:
    """Start what is missing, and say where it is."""
    began = time.monotonic()
    show.console.print(f"Starting the stack in {stack.state.path}", soft_wrap=True)
    stack.up()
    show.addresses(stack, time.monotonic() - began)
    return 0


def down(stack: LocalStack, _chosen: argparse.Namespace) -> int:
    """Stop everything."""
    stack.down()
    show.console.print("The stack is down.")
    return 0


def status(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """Show every program; 1 when something that should run does not, 3 when the stack is down."""
    listed = stack.status()
    if chosen.json:
        show.console.print_json(json.dumps([asdict(program) for program in listed]))
    elif listed:
        show.status(listed, stack.overhead())
    else:
        show.console.print("The stack is down.")
    if not listed:
        return 3
    return 0 if all(program.well for program in listed) else 1


def read_logs(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """Show the last log lines, then follow them if asked."""
    for line in logs.recent(stack.state.logs, chosen.service, chosen.trace, chosen.lines):
        show.log_line(line)
    if chosen.follow:
        with contextlib.suppress(KeyboardInterrupt):
            for line in logs.follow(stack.state.logs, chosen.service, chosen.trace):
                show.log_line(line)
    return 0


def scale(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """Run so many replicas of a service."""
    stack.scale(chosen.service, chosen.replicas)
    show.console.print(f"{chosen.service}: {chosen.replicas} replicas are ready.")
    return 0


def restart(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """Restart a program or a service, one replica at a time; without a name the whole stack, with fresh settings."""
    if chosen.name:
        stack.restart(chosen.name)
        show.console.print(f"{chosen.name}: restarted.")
        return 0
    stack.down()
    return up(stack, chosen)


def kill(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """Send a signal, for drills."""
    for name in stack.kill(chosen.name, chosen.signal):
        show.console.print(f"{name}: SIG{chosen.signal.upper().removeprefix('SIG')}")
    return 0


def room(stack: LocalStack, _chosen: argparse.Namespace) -> int:
    """Print the link to the control room's page; it logs one browser in, once."""
    if stack.settings.page == "off":
        raise StackError("The stack has no page.", "make restart PAGE=on")
    sys.stdout.write(page.link(stack.settings, stack.state) + "\n")
    return 0


def reset(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """Stop everything and delete data, secrets and logs."""
    doomed = stack.belongings()
    if not doomed:
        show.console.print("There is nothing to delete.")
        return 0
    show.console.print("This stops the stack and deletes:")
    show.belongings(doomed)
    if sys.stdin.isatty() and not chosen.yes and input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        show.console.print("Nothing was deleted.")
        return 1
    stack.reset()
    show.console.print("Deleted.")
    return 0


def environment(stack: LocalStack, _chosen: argparse.Namespace) -> int:
    """Print what tools need, for a shell: eval "$(python -m infra.local env)"."""
    for name, value in operator_environment(stack.settings).items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    return 0


def execute(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """Run a tool with what it needs in its environment."""
    if not chosen.command:
        raise StackError("Nothing to run: python -m infra.local exec COMMAND ...")
    variables = os.environ | operator_environment(stack.settings)
    try:
        os.execvpe(chosen.command[0], chosen.command, variables)  # noqa: S606 - the operator's own command, no shell
    except OSError as error:
        raise StackError(f"{chosen.command[0]}: {error.strerror}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[LocalStack, argparse.Namespace], int]) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=(run.__doc__ or "").splitlines()[0], description=run.__doc__)
        added.set_defaults(run=run)
        return added

    starter = command("up", up)
    starter.add_argument("--owner", type=int, default=0, metavar="PID", help="end the stack when that process ends")
    command("down", down)
    command("status", status).add_argument("--json", action="store_true", help="for programs")
    reader = command("logs", read_logs)
    reader.add_argument("service", nargs="?", default="", help="a service or a program; all when left out")
    reader.add_argument("--trace", default="", metavar="ID", help="only lines of this trace")
    reader.add_argument("-n", "--lines", type=int, default=100, help="how many of the last lines (default 100)")
    reader.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    scaler = command("scale", scale)
    scaler.add_argument("service")
    scaler.add_argument("replicas", type=int)
    command("restart", restart).add_argument("name", nargs="?", default="", help="a program or a service")
    killer = command("kill", kill)
    killer.add_argument("name", help="a program or a service")
    killer.add_argument("signal", nargs="?", default="KILL", help="KILL (default), TERM, STOP, CONT, ...")
    command("room", room)
    command("reset", reset).add_argument("--yes", action="store_true", help="do not ask")
    fault_commands.add(command)
    command("env", environment)
    command("exec", execute).add_argument("command", nargs=argparse.REMAINDER)
    return parser


if __name__ == "__main__":
    sys.exit(main())
