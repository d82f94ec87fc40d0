"""What the commands print."""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.local import envoy, page, prediction
from infra.local.errors import StackError
from infra.local.faults import Fault
from infra.local.logs import Line
from infra.local.processes import holds
from infra.local.prometheus import TOOLS
from infra.local.settings import SERVICES
from infra.local.stack import LocalStack, ProgramStatus

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

_ORDER = {
    "customer": "ada",
    "currency": "EUR",
    "items": [{"sku": "mug-enamel", "quantity": 2}],
    "payment_method": {"type": "card", "number": "4242424242424242"},
}
_OPTIONAL = (*TOOLS, *prediction.NAMES)
_LEVELS = {"warning": "yellow", "error": "red", "critical": "red"}


def progress(line: str) -> None:
    """One line of progress."""
    console.print(Text(f"  {line}", style="dim"))


def failure(error: StackError) -> None:
    """What went wrong, then what to do about it."""
    errors.print(Text(error.problem, style="red"), soft_wrap=True)
    if error.mend:
        errors.print(Text(error.mend), soft_wrap=True)


def faults(listed: list[Fault]) -> None:
    """The faults on purpose that are not over."""
    table = Table("ID", "KIND", "TARGET", "SECONDS LEFT", box=None, pad_edge=False)
    for fault in listed:
        table.add_row(fault.id, fault.kind, fault.target, f"{fault.seconds_left:g}")
    console.print(table)


def addresses(stack: LocalStack, seconds: float) -> None:
    """Where everything is, and an order to place."""
    rows = [(service.name, _local(stack.url(service.name)), "") for service in SERVICES]
    if envoy.runs(stack.settings):
        rows.append(("mesh", "Envoy, before each of these", f"numbers at {_local(envoy.stats_url(stack.settings))}"))
    else:
        rows.append(("mesh", "off", "the services call each other directly"))
    rows.append(("nats", stack.url("nats"), f"monitor at {stack.url('nats-monitor')}"))
    if stack.settings.traces == "on":
        address = _local(stack.url("control-room"))
        rows.append(("traces", address, f"{address}/api/traces/<x-trace-id of an answer>"))
    rows += [(name, _local(stack.url(name)), "") for name in TOOLS if stack.running_program(name)]
    rows += [(name, _local(stack.url(name)), told) for name, told in _foresight(stack) if stack.running_program(name)]
    rows.append(("database", stack.settings.database if "://" not in stack.settings.database else "external", ""))
    rows.append(("logs", str(stack.state.logs), "make logs SERVICE=order"))
    console.print()
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    for row in rows:
        # wider than the terminal, if need be: half an address is none
        console.print(Text(f"{row[0]:{first}}  {row[1]:{second}}  {row[2]}".rstrip()), soft_wrap=True)
    console.print(f"\nUp in {seconds:.1f} s. Place an order:\n")
    console.print(Text(order_command(stack)), soft_wrap=True)
    if stack.settings.page == "on":
        console.print("\nThe control room, where you see what becomes of it (the link logs you in, once):\n")
        console.print(Text(_room(stack)), soft_wrap=True)


def _foresight(stack: LocalStack) -> list[tuple[str, str]]:
    return [
        (prediction.PREDICTOR, "who is likely to fail in 10 to 30 minutes, at /predictions"),
        (prediction.REMEDIATION, f"mode {stack.settings.remediation}; the control room shows what it says and asks"),
    ]


def _room(stack: LocalStack) -> str:
    try:
        return page.link(stack.settings, stack.state)
    except StackError as error:
        return f"{error.problem}; make room tries again"


def order_command(stack: LocalStack) -> str:
    """A shell command that places a real order."""
    return place_an_order(_local(stack.url("order")))


def place_an_order(base: str) -> str:
    """A shell command that places a real order at a base address."""
    return (
        f"curl -sS -X POST {base}/orders -H 'content-type: application/json' "
        f"""-H "Idempotency-Key: $(uuidgen || date +%s)" -d '{json.dumps(_ORDER)}'"""
    )


def status(listed: list[ProgramStatus], overhead: int = 0) -> None:
    """The table of programs; what is not well comes with its reason. `overhead`: bytes of the supervisor's own."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, justify in (
        ("program", "left"), ("state", "left"), ("pid", "right"), ("uptime", "right"), ("port", "right"),
        ("ready", "left"), ("memory", "right"), ("restarts", "right"),
    ):  # fmt: skip
        table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=True)
    for program in listed:
        ready = "" if program.ready is None else "yes" if program.ready else "no"
        table.add_row(
            program.name,
            program.state.lower() if program.wanted else "off" if program.name in _OPTIONAL else "spare slot",
            str(program.pid or ""),
            _duration(program.uptime) if program.pid else "",
            str(program.port),
            ready,
            f"{program.resident / 1e6:.0f} MB" if program.resident else "",
            str(program.restarts or ""),
            style="red" if not program.well else "" if program.wanted else "dim",
        )
    console.print(table)
    resident = sum(program.resident for program in listed)
    console.print(f"memory: {resident / 1e6:.0f} MB, and {overhead / 1e6:.0f} MB to supervise it")
    for program in listed:
        if not program.well:
            console.print(Text(f"{program.name}: {program.reason or 'does not run'}", style="red"), soft_wrap=True)


def belongings(paths: list[Path]) -> None:
    """What a reset deletes."""
    for path in paths:
        console.print(Text(f"  {path} ({holds(path)})"), soft_wrap=True)


def log_line(line: Line) -> None:
    """One log line: readable on a terminal, untouched in a pipe."""
    fields = line.fields
    if not console.is_terminal or not fields:
        sys.stdout.write(f"{line.program} | {line.text}\n")
        sys.stdout.flush()
        return
    level = str(fields.get("level", "info"))
    rest = " ".join(
        f"{name}={value}" for name, value in fields.items() if name not in ("timestamp", "level", "event", "instance")
    )
    text = Text(f"{line.moment[11:23]} ", style="dim")
    text.append(f"{line.program:<14}", style="cyan")
    text.append(f"{fields.get('event', '')} ", style=_LEVELS.get(level, "bold"))
    text.append(rest, style="dim")
    console.print(text, soft_wrap=True)


def _local(url: str) -> str:
    return url.replace("//127.0.0.1:", "//localhost:")


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
