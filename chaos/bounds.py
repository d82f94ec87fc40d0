"""How far what runs measured is from the bounds of their experiments: for who sets these bounds anew."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One bound of one experiment, and of all its runs the value that is nearest to it, or furthest beyond.

    headroom: the distance as a share of the bound; negative when it was broken
    """

    scenario: str
    measure: str
    runs: int
    measured: float
    bound: str
    headroom: float


def read(directory: Path) -> list[Row]:
    """Every bound of the runs below a directory (`.local/chaos`), the narrowest first."""
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for path in sorted(directory.glob("*/verdict.json")):
        verdict = json.loads(path.read_text(encoding="utf-8"))
        for measure, value, sign, bound in _bounds(verdict):
            distance = sign * (bound - value) / (abs(bound) or 1.0)
            words = f"{'at most' if sign > 0 else 'at least'} {bound:g}"
            found.setdefault((verdict["scenario"], measure, words), []).append((distance, value))
    rows = [
        Row(scenario, measure, len(values), min(values)[1], bound, min(values)[0])
        for (scenario, measure, bound), values in found.items()
    ]
    return sorted(rows, key=lambda row: (row.headroom, row.scenario))


def show(rows: Iterable[Row], console: Console) -> None:
    """The rows as a table."""
    table = Table("experiment", "measure", "runs", "nearest", "bound", "headroom", box=None)
    for row in rows:
        colour = "red" if row.headroom < 0 else "yellow" if row.headroom < 0.1 else "default"
        cells = (row.scenario, row.measure, str(row.runs), f"{row.measured:.3g}", row.bound, f"{row.headroom:.0%}")
        table.add_row(*cells, style=colour)
    console.print(table)


def _bounds(verdict: Mapping[str, Any]) -> Iterator[tuple[str, float, int, float]]:
    """Measure, value, +1 for an upper and -1 for a lower bound, the bound."""
    for kind in ("bites", "expected"):
        for each in verdict[kind]:
            value = each.get("value")
            if value is None:
                continue
            measure = each["wanted"].partition(": ")[0].partition(" grows by ")[0]
            for name, sign in (("at_least", -1), ("at_most", 1)):
                if each.get(name) is not None:
                    yield measure, value, sign, each[name]
    recovered, within = verdict["figures"].get("recovery_seconds"), verdict.get("recovery_within_seconds")
    if recovered is not None and within is not None:
        yield "seconds until recovered", recovered, 1, within
