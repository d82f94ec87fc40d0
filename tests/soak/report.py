"""What a soak leaves behind: `report.json` for programs, `report.md` and `report.html`, with plots, for people."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from chaos.report import plots
from chaos.report.html import STYLE
from tests.bench.tables import Bar, Page
from tests.soak.judge import Bound, Finding, Verdict
from tests.soak.mild import RECOVERY_SECONDS
from tests.soak.run import Soak

KILOBYTES_AN_ORDER = 4.0
"""Rows and indices of one order in all three databases take 1.8 KB (docs/scaling.md); its pages are not all full."""
_PLOTTED = (
    "share of others",
    "memory",
    "descriptors",
    "tasks",
    "latency p50",
    "latency p99",
    "outbox",
    "databases",
    "streams",
)


def bars(soak: Soak) -> list[Bar]:
    """What is bounded by a figure, and not by a slope."""
    fullest = max(soak.logs.values(), default=0.0)
    return [
        Bar("databases, an order that was taken", soak.stored_kilobytes, most=KILOBYTES_AN_ORDER, unit="KB"),
        Bar("logs, the program that has most", fullest, most=soak.log_limit + 0.1, unit="MB"),
        Bar("the auditor finds nothing", float(soak.audit_clean), least=1),
    ]


def complaints(soak: Soak, findings: Sequence[Finding]) -> list[str]:
    """Why the soak failed, each with process and metric; empty when it did not."""
    grown = [
        f"{each.metric} of {each.process} grows: {shown(each.grew, each)} in the window, for certain"
        f" {shown(each.low, each)}; allowed are {shown(each.most, each)}"
        for each in findings
        if each.verdict is Verdict.GROWS
    ]
    missed = [f"{bar.what}: {bar.row()[1]}, the bound is {bar.row()[2]}" for bar in bars(soak) if not bar.met]
    nothing = [] if any(each.verdict is not Verdict.TOO_LITTLE for each in findings) else ["nothing could be judged"]
    return grown + missed + nothing


def shown(figure: float, of: Finding) -> str:
    """A growth with its unit: `+1.2 MB`, `+14 %`."""
    return f"{figure * 100:+.0f} %" if of.share else f"{figure:+.2f} {of.unit}".rstrip()


def worst(findings: Sequence[Finding]) -> list[Finding]:
    """Of each metric the process that is nearest to its bound; and all that grow."""
    nearest: dict[str, Finding] = {}
    for each in findings:
        before = nearest.get(each.metric)
        if before is None or _nearness(each) > _nearness(before):
            nearest[each.metric] = each
    return [each for each in findings if each.verdict is Verdict.GROWS or nearest[each.metric] is each]


def _nearness(found: Finding) -> float:
    return -math.inf if found.verdict is Verdict.TOO_LITTLE else found.low / found.most


def markdown(soak: Soak, findings: Sequence[Finding], why: Sequence[str]) -> str:
    """The page for people; it reads in a terminal, too. findings: the rows of its table."""
    page, window = Page(), soak.window
    page.parts.append(f"# Soak: {'FAIL' if why else 'PASS'}")
    for complaint in why:
        page.line(f"**{complaint}**")
    page.line(
        f"{soak.wanted.minutes:g} min at {soak.rate:g} orders/s, seed {soak.wanted.seed}; the stack takes"
        f" {soak.capacity:.0f} orders/s with 24 customers at once. Judged: {window.judged_seconds:.0f} s after a"
        f" warm-up of {window.warm_up:.0f} s, without the moments of a fault and the {RECOVERY_SECONDS:.0f} s after it."
        f" Others had much of the machine for {soak.shared_share:.0%} of that time, which does not count for what"
        " follows how busy it is."
    )
    answers = ", ".join(f"{count} {status or 'unanswered'}" for status, count in sorted(soak.statuses.items()))
    page.line(f"Answers: {answers}; {soak.not_sent} not sent.")
    page.line(
        "Faults: " + "; ".join(f"{name} at {(start - soak.began) / 60:.1f} min" for start, _, name in soak.faults) + "."
    )
    page.heading("Growth over the judged window")
    page.table(["", "process", "level", "grew by", "95 %", "may grow by", ""], [_row(each) for each in findings])
    page.heading("What grows by nature")
    page.line(
        f"The databases hold every order for ever: {soak.grown('databases'):.1f} MB in the window,"
        f" {soak.stored_kilobytes:.2f} KB an order. Nothing deletes orders; the archive that an operator keeps bounds"
        " them (docs/operations.md, Data retention). Traces"
        f" ({soak.grown('traces'):+.1f} MB) end at 200 MB or 24 h, logs at three files of {soak.log_limit / 3:.1f} MB a"
        " program, streams hold what waits, for a week at most."
    )
    page.table(["", "figure", "bound", ""], [bar.row() for bar in bars(soak)])
    page.heading("Auditor")
    page.line("```\n" + soak.audit.strip() + "\n```")
    return page.text()


def write(
    soak: Soak, findings: Sequence[Finding], why: Sequence[str], bounds: Sequence[Bound], directory: Path
) -> None:
    """Write all three files."""
    directory.mkdir(parents=True, exist_ok=True)
    about = {
        "verdict": "FAIL" if why else "PASS",
        "reasons": list(why),
        "minutes": soak.wanted.minutes,
        "seed": soak.wanted.seed,
        "capacity_orders_per_second": soak.capacity,
        "rate_orders_per_second": soak.rate,
        "began": soak.began,
        "ended": soak.ended,
        "judged_seconds": soak.window.judged_seconds,
        "shared_machine": soak.shared_share,
        "faults": [{"began": start, "ended": end, "what": name} for start, end, name in soak.faults],
        "answers": {str(status): count for status, count in sorted(soak.statuses.items())},
        "not_sent": soak.not_sent,
        "bounds": [asdict(bound) for bound in bounds],
        "findings": [asdict(each) for each in findings],
        "figures": [{"what": bar.what, "figure": bar.figure, "met": bar.met} for bar in bars(soak)],
        "audit": soak.audit,
        "samples": [
            {"metric": metric, "process": process, "points": [[round(p.at, 2), p.value, p.life] for p in points]}
            for (metric, process), points in sorted(soak.series.points.items())
        ],
    }
    text = markdown(soak, findings, why)
    (directory / "report.json").write_text(json.dumps(_without_nan(about)) + "\n", encoding="utf-8")
    (directory / "report.md").write_text(text, encoding="utf-8")
    (directory / "report.html").write_text(_html(soak, text, bool(why)), encoding="utf-8")


def _row(found: Finding) -> list[str]:
    known = found.verdict is not Verdict.TOO_LITTLE
    level = f"{found.level:.1f} {found.unit}".rstrip() if known else ""
    grew = shown(found.grew, found) if known else ""
    interval = f"{shown(found.low, found)} to {shown(found.high, found)}" if known else ""
    return [found.metric, found.process, level, grew, interval, shown(found.most, found), str(found.verdict)]


def _html(soak: Soak, text: str, failed: bool) -> str:
    label = "FAIL" if failed else "PASS"
    axis = plots.Axis(soak.began, soak.ended, (soak.began, soak.began + soak.wanted.warm_up))
    drawn = []
    for metric in _PLOTTED:
        named = {
            process: [(point.at, point.value) for point in points]
            for (each, process), points in sorted(soak.series.points.items())
            if each == metric
        }
        for first in range(0, len(named), 4):  # more lines than colours could not be told apart
            some = dict(list(named.items())[first : first + 4])
            drawn.append(plots.lines(axis, some, f"{metric}; shaded: the warm-up"))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Soak: {label}</title>'
        f"<style>{STYLE}</style></head>\n<body>{''.join(drawn)}<pre>{escape(text)}</pre></body></html>\n"
    )


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
