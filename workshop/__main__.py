"""The command line of the workshop: `python -m workshop start 3`, `check 3`, `hint 3`, `solve 3`, `end`, `list`."""

import argparse
import sys
import time
from collections.abc import Callable

from infra.local.errors import StackError
from infra.local.remembered import in_force
from infra.local.stack import LocalStack
from workshop.lab import Lab, Note, NotYet, noted
from workshop.labs import LABS, first_order
from workshop.platform import Platform, Trouble
from workshop.waterfall import waterfall

DONE, NOT_YET, UNAVAILABLE = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 done, 1 not yet, 2 the platform is not there or does not do its part."""
    chosen = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = chosen.run
    try:
        return command(chosen)
    except NotYet as error:
        sys.stdout.write(
            f"Lab {chosen.lab} is not done: {error.missing}\nSee {error.look}; or: make lab-hint LAB={chosen.lab}\n"
        )
        return NOT_YET
    except (Trouble, StackError) as error:
        sys.stderr.write(f"{error}\n")
        return UNAVAILABLE


def start(chosen: argparse.Namespace) -> int:
    """Set the scene of a lab: everything as `make up` leaves it, but for what the lab is about."""
    lab, at = LABS[chosen.lab], _platform()
    at.tidy()
    lab.begin(at)
    begin(lab, at).write(at.directory)
    sys.stdout.write(f"Lab {lab.number}: {lab.title} ({lab.minutes} minutes)\n{lab.scene}\n")
    sys.stdout.write(f"The page: docs/workshop/{lab.page}. When you are through: make lab-check LAB={lab.number}\n")
    return DONE


def begin(lab: Lab, at: Platform) -> Note:
    """A lab that begins now, with what its counters read."""
    note = Note(lab.number, time.time())
    for service, counter in lab.counters:
        note.counts |= at.counts(service, counter)
    return note


def check(chosen: argparse.Namespace) -> int:
    """Whether a lab is done; else what is missing."""
    lab, at = LABS[chosen.lab], _platform()
    note = _begun(at, lab)
    seen = lab.check(at, note, chosen.answer)
    note.done = note.done or time.time()
    note.write(at.directory)
    after = LABS.get(lab.number + 1)
    further = f"Next: make lab LAB={after.number} ({after.title})" if after else "That was the last one: make lab-end"
    sys.stdout.write(f"Lab {lab.number} is done. {seen}\n{further}\n")
    return DONE


def hint(chosen: argparse.Namespace) -> int:
    """The next hint of a lab."""
    lab, at = LABS[chosen.lab], _platform()
    note = _begun(at, lab)
    note.hints = min(note.hints + 1, len(lab.hints))
    note.write(at.directory)
    sys.stdout.write(f"Hint {note.hints} of {len(lab.hints)}: {lab.hints[note.hints - 1]}\n")
    return DONE


def solve(chosen: argparse.Namespace) -> int:
    """Do what a lab asks for."""
    lab, at = LABS[chosen.lab], _platform()
    note = _begun(at, lab)
    lab.see(at, note)
    answer = lab.mend(at, note)
    given = f" ANSWER={answer}" if answer else ""
    sys.stdout.write(f"Solved as docs/workshop/{lab.page} says. See: make lab-check LAB={lab.number}{given}\n")
    return DONE


def end(_chosen: argparse.Namespace) -> int:
    """Everything as `make up` leaves it."""
    _platform().tidy()
    sys.stdout.write("The workshop is over: policies, switches, breakers and faults are as make up leaves them.\n")
    return DONE


def mesh_retries(chosen: argparse.Namespace) -> int:
    """Let the mesh repeat charges by itself, or no more (lab 8)."""
    _platform().mesh_retries(on=chosen.state == "on")
    sys.stdout.write(f"Retries of charges in the mesh: {chosen.state}.\n")
    return DONE


def trace(chosen: argparse.Namespace) -> int:
    """Print a trace, a line a span."""
    found = first_order.whole_trace(_platform(), chosen.id)
    if found is None:
        raise Trouble(f"The control room has no trace {chosen.id}.")
    for line in waterfall(found):
        sys.stdout.write(f"{line}\n")
    return DONE


def show(_chosen: argparse.Namespace) -> int:
    """List the labs, and which are done."""
    directory = LocalStack(in_force()).state.path / "workshop"
    for lab in LABS.values():
        note = noted(directory, lab.number)
        state = "" if note is None else "begun" if note.done is None else "done"
        sys.stdout.write(f"{lab.number:3}  {lab.minutes:3} min  {state:5}  {lab.title}\n")
    sys.stdout.write("\nmake lab LAB=1; the pages: docs/workshop/README.md\n")
    return DONE


def _platform() -> Platform:
    stack = LocalStack(in_force())
    if not stack.running():
        raise StackError("The platform is down.", "Start it with: make up STACK=local")
    return Platform(stack)


def _begun(at: Platform, lab: Lab) -> Note:
    note = noted(at.directory, lab.number)
    if note is None:
        raise NotYet("it has not begun.", f"docs/workshop/{lab.page}, which begins with: make lab LAB={lab.number}")
    return note


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workshop", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(run: Callable[[argparse.Namespace], int], name: str, *, lab: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=(run.__doc__ or "").splitlines()[0], description=run.__doc__)
        added.set_defaults(run=run)
        if lab:
            added.add_argument("lab", type=int, choices=sorted(LABS), help="its number")
        return added

    command(start, "start")
    command(check, "check").add_argument("--answer", default="", help="what a lab asks you to find out")
    command(hint, "hint")
    command(solve, "solve")
    switch = command(mesh_retries, "mesh-retries", lab=False)
    switch.add_argument("state", choices=("on", "off"))
    command(trace, "trace", lab=False).add_argument("id", help="x-trace-id of an answer")
    command(end, "end", lab=False)
    command(show, "list", lab=False)
    return parser


if __name__ == "__main__":
    sys.exit(main())
