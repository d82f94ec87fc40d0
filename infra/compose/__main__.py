"""The command line of the stack of containers: `python -m infra.compose up`, `status`, `scale payment 3`, ..."""

import argparse
import sys
import time
from collections.abc import Callable

from infra.compose import show
from infra.compose.engine import EngineError, find
from infra.compose.stack import MEND, ComposeStack
from infra.local import page, sources
from infra.local.errors import SettingsError, StackError
from infra.local.show import failure, progress

EX_CONFIG = 78

Command = Callable[[ComposeStack, argparse.Namespace], int]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    chosen = _parser().parse_args(arguments)
    run: Command = chosen.run
    try:
        return run(_stack(), chosen)
    except SettingsError as error:
        failure(error)
        return EX_CONFIG
    except (StackError, EngineError) as error:
        failure(error if isinstance(error, StackError) else StackError(str(error)))
        return 1
    except KeyboardInterrupt:
        show.errors.print("Interrupted. What was started goes on: make status, make down.")
        return 130


def _stack() -> ComposeStack:
    settings = sources.load()
    engine, why_not = find()
    if engine is None:
        raise StackError(f"The containers cannot be reached: {why_not}.", MEND)
    return ComposeStack(settings, engine, progress)


def up(stack: ComposeStack, chosen: argparse.Namespace) -> int:
    """Build, fetch and start what is missing, and say where it is."""
    began = time.monotonic()
    stack.up(chosen.services, build=not chosen.no_build)
    show.addresses(stack, time.monotonic() - began)
    return 0


def down(stack: ComposeStack, _chosen: argparse.Namespace) -> int:
    """Stop and remove the containers; data stays."""
    stack.down()
    show.console.print("The stack is down.")
    return 0


def status(stack: ComposeStack, _chosen: argparse.Namespace) -> int:
    """Show every container; 1 when one is not well, 3 when the stack is down."""
    listed = stack.status()
    if not listed:
        show.console.print("The stack is down.")
        return 3
    show.status(listed)
    return 0 if all(each.well for each in listed) else 1


def logs(stack: ComposeStack, chosen: argparse.Namespace) -> int:
    """Show the last log lines, then follow them if asked."""
    only = [stack.service(chosen.service)] if chosen.service else []
    if chosen.trace:
        for line in stack.log_lines(*only):
            if chosen.trace in line:
                sys.stdout.write(f"{line}\n")
        return 0
    return stack.hand_over("logs", "--tail", str(chosen.lines), *(["--follow"] if chosen.follow else []), *only)


def scale(stack: ComposeStack, chosen: argparse.Namespace) -> int:
    """Run so many replicas of a service."""
    stack.scale(chosen.service, chosen.replicas)
    show.console.print(f"{chosen.service}: {chosen.replicas} replicas are ready.")
    return 0


def restart(stack: ComposeStack, chosen: argparse.Namespace) -> int:
    """Restart a service's containers; without a name the whole stack, with fresh settings."""
    if chosen.name:
        stack.restart(chosen.name)
        show.console.print(f"{chosen.name}: restarted.")
        return 0
    stack.down()
    stack.up()
    return 0


def kill(stack: ComposeStack, chosen: argparse.Namespace) -> int:
    """Send a signal to the processes in a service's containers, for drills."""
    for name in stack.kill(chosen.name, chosen.signal):
        show.console.print(f"{name}: SIG{chosen.signal.removeprefix('SIG')}")
    return 0


def room(stack: ComposeStack, _chosen: argparse.Namespace) -> int:
    """Print the link to the control room's page; it logs one browser in, once."""
    sys.stdout.write(page.link(stack.settings, stack.state) + "\n")
    return 0


def reset(stack: ComposeStack, chosen: argparse.Namespace) -> int:
    """Stop everything and delete data and secrets."""
    if sys.stdin.isatty() and not chosen.yes:
        show.console.print(f"This stops the stack and deletes data and secrets in {stack.state.path}.")
        if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
            show.console.print("Nothing was deleted.")
            return 1
    show.console.print("Deleted." if stack.reset() else "There was nothing to delete.")
    return 0


def tool(stack: ComposeStack, chosen: argparse.Namespace) -> int:
    """Run a module of the operator's in a container beside the stack: tool infra.audit --settled."""
    terminal = [] if sys.stdout.isatty() else ["-T"]
    return stack.hand_over("run", "--rm", "--no-deps", *terminal, "tools", "-m", *chosen.words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.compose", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Command) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=(run.__doc__ or "").splitlines()[0], description=run.__doc__)
        added.set_defaults(run=run)
        return added

    starter = command("up", up)
    starter.add_argument("services", nargs="*", help="these and what they need; all when left out")
    starter.add_argument("--no-build", action="store_true", help="take the images as they are")
    command("down", down)
    command("status", status)
    reader = command("logs", logs)
    reader.add_argument("service", nargs="?", default="", help="all when left out")
    reader.add_argument("--trace", default="", metavar="ID", help="only lines of this trace, of all there are")
    reader.add_argument("-n", "--lines", type=int, default=100, help="how many of the last lines (default 100)")
    reader.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    scaler = command("scale", scale)
    scaler.add_argument("service")
    scaler.add_argument("replicas", type=int)
    command("restart", restart).add_argument("name", nargs="?", default="", help="a service")
    killer = command("kill", kill)
    killer.add_argument("name", help="a service")
    killer.add_argument("signal", nargs="?", default="KILL", help="KILL (default), TERM, STOP, CONT, ...")
    command("room", room)
    command("reset", reset).add_argument("--yes", action="store_true", help="do not ask")
    command("tool", tool).add_argument("words", nargs=argparse.REMAINDER, metavar="MODULE ...")
    return parser


if __name__ == "__main__":
    sys.exit(main())
