"""Did each pattern move the number that it is for?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chaos.compare.ladder import Move, Rung
from chaos.compare.measured import Measured
from chaos.definition import Bounds

NAMES = {
    "success": "success",
    "goodput": "goodput",
    "p50": "p50",
    "p99": "p99",
    "sent": "calls sent per order",
    "reached": "charges that reached payment per order",
    "in_flight": "most under way at payment",
    "recovered": "seconds until recovered",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One rung as it was measured. `moved` is None where nothing was asked; `says` is the sentence under the row.

    `measured` is None for a rung that could not be tried here; `says` then has the reason.
    """

    rung: str
    about: str
    measured: Measured | None
    moved: bool | None
    says: str

    @property
    def good(self) -> bool:
        """What was asked for was seen, and nothing was lost or charged twice."""
        audited = self.measured is None or not (self.measured.lost or self.measured.twice)
        return self.moved is not False and audited


def judge(
    rungs: Sequence[Rung], measured: Mapping[str, Measured], scenario: str, skipped: Mapping[str, str]
) -> list[Row]:
    """A row for each rung; `skipped` has the reasons for those that were not measured."""
    rows, before = [], ""
    for rung in rungs:
        if rung.name in measured:
            rows.append(_row(rung, measured, rung.against or before, scenario))
        else:
            rows.append(Row(rung.name, rung.about, None, None, skipped.get(rung.name, "not tried")))
        before = rung.name
    return rows


def _row(rung: Rung, measured: Mapping[str, Measured], against: str, scenario: str) -> Row:
    after, move = measured[rung.name], rung.move(scenario)
    moved: bool | None = None
    if isinstance(move, str):
        says = move
    elif against in measured:
        old, new = measured[against].value(move.number), after.value(move.number)
        moved = old is not None and new is not None and move.made(old, new)
        says = f"{NAMES[move.number]}: {_shown(move.number, old)} -> {_shown(move.number, new)}"
        says += f" against {against!r}, {_asked(move)}: {'yes' if moved else 'no'}"
    else:
        says = f"{against!r} was not measured"
    for number, bounds in rung.bounds(scenario).items():
        value = after.value(number)
        holds = value is not None and bounds.hold(value)
        kept = f"{NAMES[number]} {_worded(number, bounds)}"
        says += f"; keeps {kept}: {_shown(number, value)}, {'yes' if holds else 'no'}"
        moved = holds and moved is not False
    return Row(rung.name, rung.about, after, moved, says)


def _asked(move: Move) -> str:
    if move.falls is not None:
        return f"to fall by {move.falls:.0%}"
    if move.rises is not None:
        return f"to rise to {move.rises:g} times"
    return f"to gain {_shown(move.number, move.gains)}"


def _worded(number: str, bounds: Bounds) -> str:
    words = (("at least", bounds.at_least), ("at most", bounds.at_most))
    return " and ".join(f"{word} {_shown(number, bound)}" for word, bound in words if bound is not None)


def _shown(number: str, value: float | None) -> str:
    return shown(number, value) or "nothing"


def shown(number: str, value: float | None) -> str:
    """A number as people read it; empty for none."""
    if value is None:
        return ""
    formats = {"success": f"{value:.1%}", "goodput": f"{value:.1f}/s", "in_flight": f"{value:.0f}"}
    if number in ("p50", "p99"):
        return f"{value * 1000:.0f} ms"
    return formats.get(number) or (f"{value:.1f} s" if number == "recovered" else f"{value:.2f}")
