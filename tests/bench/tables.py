"""What a bench writes: sections, tables and bars, as Markdown that reads in a terminal, too."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench.figures import Spread


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure that was promised: at least, or at most, so much."""

    what: str
    figure: float
    least: float | None = None
    most: float | None = None
    unit: str = ""
    spread: Spread | None = None

    @property
    def met(self) -> bool:
        """The promise is kept; a figure that is not a number keeps none."""
        over = self.least is None or self.figure >= self.least
        return over and (self.most is None or self.figure <= self.most)

    def row(self) -> list[str]:
        """Its line in a table."""
        shown = self.spread.shown() if self.spread else f"{self.figure:.2f}"
        bounds = [f"{sign} {bound:g}" for sign, bound in ((">=", self.least), ("<=", self.most)) if bound is not None]
        unit = f" {self.unit}" if self.unit else ""
        return [self.what, shown + unit, " and ".join(bounds) + unit, "met" if self.met else "MISSED"]


@dataclass(slots=True)
class Page:
    """Collects what is found."""

    parts: list[str] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """A section begins."""
        self.parts.append(f"## {text}")

    def line(self, text: str) -> None:
        """A paragraph."""
        self.parts.append(text)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns as wide as they must be; all but the first are set to the right."""
        widths = [max(3, *(len(row[column]) for row in [head, *rows])) for column in range(len(head))]
        ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = []
        for row in [head, ruler, *rows]:
            cells = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        self.parts.append("\n".join(lines))

    def bar(self, bar: Bar) -> None:
        """A promise; it stands in the section, and in the table of all of them."""
        self.bars.append(bar)
        what, shown, bound, verdict = bar.row()
        self.parts.append(f"**{what}: {shown}; bar {bound}: {verdict}.**")

    def all_met(self) -> bool:
        """Every promise is kept."""
        return all(bar.met for bar in self.bars)

    def text(self) -> str:
        """The whole."""
        return "\n\n".join(self.parts) + "\n"
