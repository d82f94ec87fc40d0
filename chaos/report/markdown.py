"""The report as Markdown."""

from chaos.report.run import Phase, Run, figures, phases
from chaos.runner.checks import Finding


def text(run: Run) -> str:
    """One page: verdict, lesson, what customers saw, what was checked, what happened when."""
    defined = run.definition
    lines = [
        f"# {run.verdict.label}: {run.experiment['title']}",
        "",
        " ".join(str(run.experiment["description"]).split()),
        "",
        f"**{run.verdict.label}**: {run.verdict.reason}",
        "",
        f"Run `{run.name}`, seed {run.seed}. Blast radius: {defined.blast_radius}. {defined.expected}",
        "",
        "| | orders | served | p50 | p99 | answers |",
        "|---|---|---|---|---|---|",
        *(_phase(phase) for phase in phases(run)),
        "",
        *(f"- {name}: {value}" for name, value in measured(run)),
        "",
        *_findings("Did the fault bite?", run.verdict.bites),
        *_findings("Was it as expected?", run.verdict.expected),
        "## Alerts",
        "",
        *alerts(run),
        "",
        "## Timeline",
        "",
        "| s | what | |",
        "|---|---|---|",
        *(f"| {at:+.1f} | {kind} | {_cell(said)} |" for at, kind, said in timeline(run)),
        "",
        "## Invariants",
        "",
        "```",
        run.facts.audit_says.strip() or "the auditor did not run",
        "```",
        "",
    ]
    return "\n".join(lines)


def timeline(run: Run) -> list[tuple[float, str, str]]:
    """Seconds from the start of the fault, kind, text."""
    window = run.recording.window(run.ended)
    zero = window[0] if window else run.began
    return [(mark.at - zero, mark.kind, mark.text) for mark in sorted(run.recording.marks, key=lambda mark: mark.at)]


def measured(run: Run) -> list[tuple[str, str]]:
    """The figures that are known, in words."""
    words = {
        "fault_seconds": ("the fault acted", " s"),
        "recovery_seconds": ("recovered after", " s"),
        "settled_seconds": ("every order was final after", " s"),
        "abort_seconds": ("from the breach to the end of the fault", " s"),
        "amplification": ("attempts for each call between services", ""),
    }
    return [
        (words[name][0], f"{value:.2f}{words[name][1]}") for name, value in figures(run).items() if value is not None
    ]


def alerts(run: Run) -> list[str]:
    """One line an alert that was raised, and whether it was expected."""
    raised = [
        (name, [state for _, state in states])
        for name, states in sorted(run.recording.alerts.items())
        if any(state in ("pending", "firing") for _, state in states)
    ]
    if not raised:
        return ["- none was raised"]
    expected = run.definition.alerts
    return [
        f"- {name}: {' -> '.join(states)}{'' if name in expected else ' (not listed by the experiment)'}"
        for name, states in raised
    ]


def _phase(phase: Phase) -> str:
    return (
        f"| {phase.name} | {phase.orders} | {phase.served:.1%} | {phase.p50 * 1000:.0f} ms | {phase.p99 * 1000:.0f} ms "
        f"| {spelt(phase)} |"
    )


def spelt(phase: Phase) -> str:
    """The answers of a phase: `201: 40, 202: 3`."""
    shown = [f"{status or 'none'}: {count}" for status, count in phase.statuses.items()]
    return ", ".join([*shown, *([f"under way: {phase.unanswered}"] if phase.unanswered else [])])


def _findings(title: str, findings: tuple[Finding, ...]) -> list[str]:
    if not findings:
        return []
    rows = [f"| {'yes' if each.holds else '**no**'} | {_cell(each.wanted)} | {_cell(each.seen)} |" for each in findings]
    return [f"## {title}", "", "| | wanted | seen |", "|---|---|---|", *rows, ""]


def _cell(said: str) -> str:
    return said.replace("|", "\\|").replace("\n", " ")
