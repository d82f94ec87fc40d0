"""What a run leaves behind: verdict, journal, and a page for people in HTML and in Markdown."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chaos.report.html import page
from chaos.report.markdown import text
from chaos.report.run import Run, figures, phases


def write(run: Run, journal: Mapping[str, Any], directory: Path) -> None:
    """Write `verdict.json`, `journal.json` (Chaos Toolkit's), `report.html` and `report.md`."""
    (directory / "verdict.json").write_text(json.dumps(summary(run), indent=2) + "\n", encoding="utf-8")
    (directory / "journal.json").write_text(json.dumps(journal, indent=2, default=str) + "\n", encoding="utf-8")
    (directory / "report.html").write_text(page(run), encoding="utf-8")
    (directory / "report.md").write_text(text(run), encoding="utf-8")


def summary(run: Run) -> dict[str, Any]:
    """The verdict for programs."""
    return {
        "run": run.name,
        "scenario": run.definition.scenario,
        "title": run.experiment["title"],
        "verdict": str(run.verdict.label),
        "reason": run.verdict.reason,
        "seed": run.seed,
        "began": run.began,
        "ended": run.ended,
        "figures": figures(run),
        "recovery_within_seconds": run.definition.recovery.within_seconds,
        "phases": [asdict(phase) for phase in phases(run)],
        "bites": [asdict(finding) for finding in run.verdict.bites],
        "expected": [asdict(finding) for finding in run.verdict.expected],
        "timeline": [asdict(mark) for mark in sorted(run.recording.marks, key=lambda mark: mark.at)],
        "audit": run.facts.audit,
    }
