"""The report as one HTML page: no script, nothing from elsewhere, readable on paper."""

from collections.abc import Sequence
from html import escape

from chaos.report.charts import charts
from chaos.report.markdown import alerts, measured, spelt, timeline
from chaos.report.run import Phase, Run, phases
from chaos.runner.checks import Finding

STYLE = """
:root { color-scheme: light; } body { font: 15px/1.5 system-ui, sans-serif; max-width: 900px; margin: 2rem auto;
padding: 0 1rem; color: #1d1d22; } h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.05rem;
margin: 1.6rem 0 .4rem; } table { border-collapse: collapse; width: 100%; font-size: .9rem; } td, th { text-align: left;
padding: .2rem .6rem .2rem 0; border-bottom: 1px solid #e3e3e8; vertical-align: top; } .n { text-align: right;
font-variant-numeric: tabular-nums; white-space: nowrap; } .label { display: inline-block; padding: .1rem .7rem;
border-radius: 4px; color: #fff; font-weight: 600; } .PASS { background: #2e7d4f; } .FAIL { background: #c0392b; }
.ABORTED { background: #b3541e; } .INCONCLUSIVE { background: #6a6a78; } svg { width: 100%; margin: .4rem 0; }
.tick { font: 11px system-ui, sans-serif; fill: #555; } .title { font: 600 12px system-ui, sans-serif; fill: #1d1d22; }
.grid { stroke: #e3e3e8; } .fault { fill: #c0392b; opacity: .09; }
pre { background: #f5f5f8; padding: .6rem; overflow-x: auto; font-size: .8rem; }
.no { color: #c0392b; font-weight: 600; } .lead { color: #444; margin-top: 0; }
"""


def page(run: Run) -> str:
    """The whole page."""
    title, label = escape(str(run.experiment["title"])), str(run.verdict.label)
    lesson = escape(" ".join(str(run.experiment["description"]).split()))
    body = [
        f'<h1>{title} <span class="label {label}">{label}</span></h1>',
        f'<p class="lead">{lesson}</p>',
        f"<p><strong>{escape(run.verdict.reason)}</strong></p>",
        f"<p>Run <code>{escape(run.name)}</code>, seed {run.seed}.</p>",
        f"<p>Blast radius: {escape(run.definition.blast_radius)}. {escape(run.definition.expected)}</p>",
        "<h2>What customers saw</h2>",
        _table(("", "orders", "served", "p50", "p99", "answers"), [_phase(phase) for phase in phases(run)]),
        *charts(run),
        "<h2>Figures</h2>",
        _table((), [(escape(name), escape(value)) for name, value in measured(run)]),
        *_findings("Did the fault bite?", run.verdict.bites),
        *_findings("Was it as expected?", run.verdict.expected),
        "<h2>Alerts</h2>",
        f"<ul>{''.join(f'<li>{escape(line[2:])}</li>' for line in alerts(run))}</ul>",
        "<h2>Timeline</h2>",
        _table(
            ("s", "what", ""),
            [(f'<span class="n">{at:+.1f}</span>', escape(kind), escape(said)) for at, kind, said in timeline(run)],
        ),
        "<h2>Invariants</h2>",
        f"<pre>{escape(run.facts.audit_says.strip() or 'the auditor did not run')}</pre>",
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{label}: {title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body>{chr(10).join(body)}</body></html>\n"
    )


def _phase(phase: Phase) -> tuple[str, ...]:
    return (
        escape(phase.name), str(phase.orders), f"{phase.served:.1%}", f"{phase.p50 * 1000:.0f} ms",
        f"{phase.p99 * 1000:.0f} ms", escape(spelt(phase)),
    )  # fmt: skip


def _findings(title: str, findings: tuple[Finding, ...]) -> list[str]:
    if not findings:
        return []
    rows = [
        ("yes" if each.holds else '<span class="no">no</span>', escape(each.wanted), escape(each.seen))
        for each in findings
    ]
    return [f"<h2>{escape(title)}</h2>", _table(("", "wanted", "seen"), rows)]


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table; cells are HTML already."""
    head = f"<tr>{''.join(f'<th>{each}</th>' for each in heads)}</tr>" if heads else ""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{head}{body}</table>"
