"""The verdicts, for people and for programs."""

import json
from collections.abc import Sequence
from typing import Any

from infra.audit.verdicts import Verdict

NAMED = 20
"""At most so many offenders are named for each invariant."""


def as_text(verdicts: Sequence[Verdict]) -> str:
    """A table of all invariants, then the offenders of those that are broken."""
    width = max(len(verdict.invariant.name) for verdict in verdicts)
    lines = [f"{'invariant':{width}}  {'examined':>8}  {'broken':>6}  what must hold"]
    for verdict in verdicts:
        counts = f"{verdict.found.examined:>8}  {len(verdict.found.breaches):>6}"
        lines.append(f"{verdict.invariant.name:{width}}  {counts}  {verdict.invariant.statement}")
    for verdict in verdicts:
        breaches = verdict.found.breaches
        if breaches:
            lines += ["", f"{verdict.invariant.name}: {verdict.invariant.statement}"]
            lines += [f"  {breach.subject}: {breach.detail}" for breach in breaches[:NAMED]]
        if len(breaches) > NAMED:
            lines.append(f"  and {len(breaches) - NAMED} more")
    broken = [verdict.invariant.name for verdict in verdicts if not verdict.holds]
    lines += ["", f"BROKEN: {', '.join(broken)}" if broken else "clean: every invariant holds"]
    return "\n".join(lines) + "\n"


def as_json(verdicts: Sequence[Verdict]) -> str:
    """The same for programs: `clean`, and for each invariant its counts and offenders."""
    body: dict[str, Any] = {
        "clean": all(verdict.holds for verdict in verdicts),
        "invariants": [
            {
                "name": verdict.invariant.name,
                "statement": verdict.invariant.statement,
                "holds": verdict.holds,
                "examined": verdict.found.examined,
                "broken": len(verdict.found.breaches),
                "offenders": [
                    {"subject": breach.subject, "detail": breach.detail} for breach in verdict.found.breaches[:NAMED]
                ],
            }
            for verdict in verdicts
        ],
    }
    return json.dumps(body, indent=2) + "\n"
