"""The comparison as a table: on the terminal, and as Markdown."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from chaos.compare.judged import Row, shown

HEADS = (
    ("success", "success"), ("goodput", "goodput"), ("p50", "p50"), ("p99", "p99"), ("sent", "sent /order"),
    ("reached", "reached /order"), ("in_flight", "at once"), ("recovered", "recovered"),
)  # fmt: skip
"""Numbers in their order, and what stands above them."""


def cells(row: Row) -> list[str]:
    """The numbers of a row, then orders lost and charged twice."""
    if row.measured is None:
        return ["-"] * (len(HEADS) + 2)
    numbers = [shown(number, row.measured.value(number)) or "not in time" for number, _ in HEADS]
    audited = [row.measured.lost, row.measured.twice]
    return [*numbers, *("?" if count is None else str(count) for count in audited)]


def mark(row: Row) -> str:
    """Whether the number moved: yes, no, or a dash where it could not."""
    return "-" if row.moved is None else "yes" if row.moved else "no"


def show(rows: Sequence[Row], console: Console) -> None:
    """Write the table, each row with its sentence below."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for _, head in HEADS:
        table.add_column(head, justify="right")
    table.add_column("lost", justify="right")
    table.add_column("twice", justify="right")
    table.add_column("moved")
    for row in rows:
        colour = {True: "green", False: "red", None: "dim"}[row.moved]
        table.add_row(f"[bold]{row.rung}[/]", *cells(row), f"[{colour}]{mark(row)}[/]")
    console.print(table)
    for row in rows:
        console.print(f"[bold]{row.rung}[/]: {row.about}\n    {row.says}", highlight=False, soft_wrap=True)


def markdown(title: str, rows: Sequence[Row]) -> str:
    """A page with the table and the sentences."""
    heads = ["", *(head for _, head in HEADS), "lost", "twice", "moved"]
    lines = [f"# {title}", "", f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(HEADS) + 2) + "|---|"]
    lines += [f"| {row.rung} | {' | '.join(cells(row))} | {mark(row)} |" for row in rows]
    lines += ["", *(f"- **{row.rung}**: {row.about} {row.says}." for row in rows), ""]
    return "\n".join(lines)


def summary(row: Row) -> dict[str, Any]:
    """A row for programs."""
    numbers = None if row.measured is None else {name: row.measured.value(name) for name in _FIELDS}
    return {"rung": row.rung, "about": row.about, "moved": row.moved, "says": row.says, "measured": numbers}


_FIELDS = ("orders", *(name for name, _ in HEADS), "lost", "twice", "statuses")
