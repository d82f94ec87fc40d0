"""`python -m infra.local fault ...` and `poison`: what breaks the stack on purpose."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict

from infra.local import everywhere, poison, show
from infra.local.errors import StackError
from infra.local.faults import Fault, StackFaults
from infra.local.stack import LocalStack
from infra.mesh import faults as mesh_faults

Run = Callable[[LocalStack, argparse.Namespace], int]


def pause(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """Let the processes of a program stand still (SIGSTOP) for a while."""
    return _begun(StackFaults(stack).pause(chosen.program, chosen.seconds))


def stop(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """Stop a program; it is started again at the end."""
    return _begun(StackFaults(stack).stop(chosen.program, chosen.seconds))


def mesh(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """Have Envoy delay or refuse requests on one route of a service."""
    if not (chosen.delay_ms or chosen.abort_status):
        raise StackError("A fault that does nothing: it needs --delay-ms or --abort-status.")
    try:
        spoilt = mesh_faults.Fault(
            mesh_faults.route_for(chosen.service, chosen.path),
            delay_ms=chosen.delay_ms,
            delay_percent=chosen.delay_percent if chosen.delay_ms else 0,
            abort_status=chosen.abort_status,
            abort_percent=chosen.abort_percent if chosen.abort_status else 0,
        )
    except ValueError as error:
        raise StackError(str(error)) from error
    return _begun(StackFaults(stack).mesh(spoilt, chosen.seconds))


def drain(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """Take one replica out of the mesh for a while: it runs on, without new requests."""
    return _begun(StackFaults(stack).drain(chosen.program, chosen.seconds))


def undrain(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """Let a drained replica back into the mesh before its time."""
    ended = StackFaults(stack).undrain(chosen.program)
    show.console.print(f"{chosen.program}: {'is back in the mesh' if ended else 'was not drained'}.")
    return 0


def list_faults(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """Show the faults of the stack and of the mesh that are not over."""
    found = StackFaults(stack).active()
    if chosen.json:
        show.console.print_json(json.dumps([asdict(fault) for fault in found]))
    elif found:
        show.faults(found)
    else:
        show.console.print("No fault in the stack.")
    return 0


def clear(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """End one fault, or all of the stack's and the mesh's; --everywhere: those inside the services too."""
    if chosen.everywhere:
        if chosen.id:
            raise StackError("Either one fault or everything everywhere.")
        lines = everywhere.end_everything(stack)
    else:
        lines = [f"{each}: ended" for each in StackFaults(stack).clear(chosen.id)]
    for line in lines or ["There was no fault to end."]:
        show.console.print(line)
    return 0


def poison_queue(stack: LocalStack, chosen: argparse.Namespace) -> int:
    """Publish a message that no worker can handle; it ends among the dead letters."""
    message_id = poison.publish(stack, chosen.subject, chosen.body)
    show.console.print(f"{message_id}: {chosen.body}, on {chosen.subject}. See: make dead-letters")
    return 0


def add(command: Callable[[str, Run], argparse.ArgumentParser]) -> None:
    """Add `fault` and `poison` to the commands. `command` makes one from a name and what it runs."""
    poisoner = command("poison", poison_queue)
    poisoner.add_argument("--subject", default="payments.requested")
    poisoner.add_argument("--body", choices=sorted(poison.BODIES), default="undecodable")
    drainer = command("drain", drain)
    drainer.add_argument("program", help="one replica: payment-2")
    _add_seconds(drainer)
    command("undrain", undrain).add_argument("program")
    group = command("fault", list_faults)
    group.set_defaults(json=False)
    kinds = group.add_subparsers(metavar="KIND")

    def kind(name: str, run: Run) -> argparse.ArgumentParser:
        added = kinds.add_parser(name, help=(run.__doc__ or "").splitlines()[0], description=run.__doc__)
        added.set_defaults(run=run)
        return added

    for name, run in (("pause", pause), ("stop", stop)):
        parser = kind(name, run)
        parser.add_argument("program", help="a program or a service")
        _add_seconds(parser)
    spoiler = kind("mesh", mesh)
    spoiler.add_argument("service", help="as in infra/mesh/traffic.yaml")
    spoiler.add_argument("--path", default="/", help="a path prefix of the mesh (default: every other path)")
    spoiler.add_argument("--delay-ms", type=int, default=0)
    spoiler.add_argument("--delay-percent", type=int, default=100, help="of the requests (default 100)")
    spoiler.add_argument("--abort-status", type=int, default=0, help="400 to 599")
    spoiler.add_argument("--abort-percent", type=int, default=100, help="of the requests (default 100)")
    _add_seconds(spoiler)
    kind("list", list_faults).add_argument("--json", action="store_true", help="for programs")
    clearer = kind("clear", clear)
    clearer.add_argument("id", nargs="?", default="", help="all when left out")
    clearer.add_argument("--everywhere", action="store_true", help="inside every replica too")


def _add_seconds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, required=True, help="its time to live, 0.1 to 600")


def _begun(faults: list[Fault]) -> int:
    for fault in faults:
        show.console.print(f"{fault.id}: {fault.kind} {fault.target} for {fault.seconds_left:g} s")
    return 0
