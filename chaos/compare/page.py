"""The comparison as one HTML page: a bar for each rung, one plot a number. No script, nothing from elsewhere."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from chaos.compare.judged import NAMES, Row, shown
from chaos.compare.table import HEADS, cells, mark, markdown, summary
from chaos.report.html import STYLE

_WIDTH, _LEFT, _ROW = 860, 170, 22
_PLOTTED = ("success", "p99", "sent", "reached", "in_flight")
_COLOURS = {True: "#2e7d4f", False: "#c0392b", None: "#7a7a8c"}


def write(directory: Path, title: str, facts: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write `compare.json`, `compare.md` and `compare.html`; `facts` are scenario, seed and the like."""
    listed = {**facts, "rows": [summary(row) for row in rows]}
    (directory / "compare.json").write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
    (directory / "compare.md").write_text(markdown(title, rows), encoding="utf-8")
    (directory / "compare.html").write_text(page(title, facts, rows), encoding="utf-8")


def page(title: str, facts: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """The whole page."""
    heads = ("", *(head for _, head in HEADS), "lost", "twice", "moved")
    table = [f"<tr>{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr>", *(_rows(row) for row in rows)]
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(said)}</p>',
        f"<table>{''.join(table)}</table>",
        *(bars(number, rows) for number in _PLOTTED),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body>{chr(10).join(body)}</body></html>\n"
    )


def bars(number: str, rows: Sequence[Row]) -> str:
    """One number of every rung as an SVG of horizontal bars."""
    values = [(row, row.measured.value(number)) for row in rows if row.measured is not None]
    top = max((value for _, value in values if value is not None), default=0.0) or 1.0
    height = 26 + _ROW * len(values)
    shapes = []
    for place, (row, value) in enumerate(values):
        y = 24 + place * _ROW
        width = (_WIDTH - _LEFT - 90) * (value or 0.0) / top
        fill = _COLOURS[row.moved]
        shapes += [
            f'<text x="{_LEFT - 6}" y="{y + 12}" text-anchor="end" class="tick">{escape(row.rung)}</text>',
            f'<rect x="{_LEFT}" y="{y}" width="{max(width, 1):.1f}" height="{_ROW - 6}" fill="{fill}"/>',
            f'<text x="{_LEFT + width + 6:.1f}" y="{y + 12}" class="tick">{escape(shown(number, value))}</text>',
        ]
    title = f'<text x="{_LEFT}" y="14" class="title">{escape(NAMES[number])}</text>'
    label = escape(NAMES[number], quote=True)
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">{title}{"".join(shapes)}</svg>'


def _rows(row: Row) -> str:
    numbers = "".join(f'<td><span class="n">{escape(cell)}</span></td>' for cell in cells(row))
    sentence = f'<tr><td></td><td colspan="{len(HEADS) + 3}">{escape(row.about)} <em>{escape(row.says)}</em></td></tr>'
    return f"<tr><td><strong>{escape(row.rung)}</strong></td>{numbers}<td>{mark(row)}</td></tr>{sentence}"
