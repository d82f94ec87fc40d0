"""Plots as inline SVG: bars over time, lines, and strips of states, all over the same axis with the fault marked.

Our own, because three simple shapes are all that is needed: a plotting library is a hundred megabytes, or a script in
the page, and the report is one file that can be mailed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT = 860, 150, 12

COLOURS = {"201": "#2e7d4f", "202": "#d99a1c", "402": "#7a7a8c", "409": "#9a8fb5", "none": "#3b3b45"}
_ERROR, _LINES = "#c0392b", ("#1f5fa8", "#c2571a", "#6b4fa0", "#2e7d4f")
STATES = {
    "closed": "#2e7d4f", "open": "#c0392b", "half_open": "#d99a1c", "running": "#2e7d4f", "starting": "#d99a1c",
    "paused": "#6b4fa0", "down": "#c0392b", "disabled": "#7a7a8c", "forced_open": "#c0392b",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Axis:
    """Time from `start` to `end`, in Unix seconds; `fault` is the part in which the fault acted."""

    start: float
    end: float
    fault: tuple[float, float] | None

    def x(self, at: float) -> float:
        """Where a moment stands."""
        span = max(self.end - self.start, 1e-9)
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max((at - self.start) / span, 0.0), 1.0)


def colour(status: str) -> str:
    """The colour of an answer."""
    return COLOURS.get(status, _ERROR)


def bars(axis: Axis, seconds: Sequence[Mapping[str, int]], title: str, height: int = 170) -> str:
    """Stacked bars, one a second: how many of each kind."""
    top = _round_up(max((sum(each.values()) for each in seconds), default=1))
    kinds = sorted({kind for each in seconds for kind in each})
    width = max(1.0, axis.x(axis.start + 1) - axis.x(axis.start) - 1)
    shapes = []
    for number, each in enumerate(seconds):
        below = 0.0
        for kind in kinds:
            count = each.get(kind, 0)
            if count:
                low, high = _y(below, top, height), _y(below + count, top, height)
                shapes.append(
                    f'<rect x="{axis.x(axis.start + number):.1f}" y="{high:.1f}" width="{width:.1f}" '
                    f'height="{low - high:.1f}" fill="{colour(kind)}"/>'
                )
                below += count
    legend = [(kind, colour(kind)) for kind in kinds]
    return _figure(axis, title, height, top, shapes, legend)


def lines(axis: Axis, named: Mapping[str, Sequence[tuple[float, float]]], title: str, height: int = 150) -> str:
    """One line for each name, through (moment, value)."""
    top = _round_up(max((value for points in named.values() for _, value in points), default=1.0))
    shapes, legend = [], []
    for (name, points), stroke in zip(named.items(), _LINES * (len(named) // len(_LINES) + 1), strict=False):
        path = " ".join(f"{axis.x(at):.1f},{_y(value, top, height):.1f}" for at, value in points)
        shapes.append(f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="1.8"/>')
        legend.append((name, stroke))
    return _figure(axis, title, height, top, shapes, legend)


def strips(axis: Axis, rows: Mapping[str, Sequence[tuple[float, str]]], title: str) -> str:
    """One row for each name, coloured by the state that it is in from each moment on."""
    row = 20
    height = 24 + row * len(rows) + 22
    shapes = []
    for number, (name, states) in enumerate(rows.items()):
        y = 24 + number * row
        shapes.append(f'<text x="{LEFT - 6}" y="{y + 12}" text-anchor="end" class="tick">{escape(name[:26])}</text>')
        for (at, state), until in zip(states, [*(at for at, _ in states[1:]), axis.end], strict=True):
            shapes.append(
                f'<rect x="{axis.x(at):.1f}" y="{y}" width="{max(axis.x(until) - axis.x(at), 0.5):.1f}" '
                f'height="{row - 5}" fill="{STATES.get(state, "#999")}">'
                f"<title>{escape(f'{name}: {state}')}</title></rect>"
            )
    seen = sorted({state for states in rows.values() for _, state in states})
    legend = [(state, STATES.get(state, "#999")) for state in seen]
    return _svg(height, title, [_band(axis, 22, height - 22), *shapes, _times(axis, height), _legend(legend)])


def _figure(axis: Axis, title: str, height: int, top: float, shapes: list[str], legend: list[tuple[str, str]]) -> str:
    grid = []
    for share in (0.0, 0.5, 1.0):
        y = _y(top * share, top, height)
        grid.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        label = f"{top * share:g}"
        grid.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" class="tick">{label}</text>')
    return _svg(height, title, [_band(axis, 22, height - 22), *grid, *shapes, _times(axis, height), _legend(legend)])


def _svg(height: int, title: str, parts: list[str]) -> str:
    head = f'<text x="{LEFT}" y="14" class="title">{escape(title)}</text>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}">'
        f"{head}{''.join(parts)}</svg>"
    )


def _band(axis: Axis, top: int, bottom: int) -> str:
    if axis.fault is None:
        return ""
    left, right = axis.x(axis.fault[0]), axis.x(axis.fault[1])
    return (
        f'<rect x="{left:.1f}" y="{top}" width="{max(right - left, 1):.1f}" height="{bottom - top}" class="fault">'
        f"<title>the fault acts</title></rect>"
    )


def _times(axis: Axis, height: int) -> str:
    zero = axis.fault[0] if axis.fault else axis.start
    step = _step(axis.end - axis.start)
    first = math.ceil((axis.start - zero) / step)
    last = math.floor((axis.end - zero) / step)
    return "".join(
        f'<text x="{axis.x(zero + n * step):.1f}" y="{height - 6}" text-anchor="middle" class="tick">'
        f"{n * step:+g} s</text>"
        for n in range(first, last + 1)
    )


def _legend(entries: list[tuple[str, str]]) -> str:
    x, shown = float(WIDTH - RIGHT), []
    for name, fill in reversed(entries):
        x -= 7.0 * len(name) + 20
        shown.append(
            f'<rect x="{x:.0f}" y="5" width="10" height="10" fill="{fill}"/>'
            f'<text x="{x + 13:.0f}" y="14" class="tick">{escape(name)}</text>'
        )
    return "".join(shown)


def _y(value: float, top: float, height: int) -> float:
    return (height - 22) - (height - 22 - 24) * (value / top if top else 0)


def _step(span: float) -> float:
    return next((step for step in (5.0, 10.0, 15.0, 30.0, 60.0, 120.0) if span / step <= 14), 300.0)


def _round_up(value: float) -> float:
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= value)
