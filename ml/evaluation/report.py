"""The evaluation as one page: tables and plots in a single HTML file, and the figures as JSON beside it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import orjson

from ml.evaluation.alarms import Tally
from ml.evaluation.forward import MODEL
from ml.evaluation.scores import Estimate
from ml.evaluation.study import Ranking, Study

_TEMPLATE = Path(__file__).with_name("page.html")


def figures(study: Study) -> dict[str, Any]:
    """Everything measured, as JSON: the same figures that the page shows and the manifest carries."""
    return {
        "pr_auc": _estimates(study.every.areas),
        "pr_auc_times": _estimates(study.every.times),
        "pr_auc_without_abrupt": _estimates(study.gradual.areas),
        "pr_auc_without_abrupt_times": _estimates(study.gradual.times),
        "brier_skill": _estimate(study.skill),
        "calibration_error": _estimate(study.calibration),
        "threshold": study.threshold,
        "event_recall": _estimates(study.recall),
        "median_lead_minutes": _estimate(study.lead),
        "in_vain_per_service_day": _estimate(study.in_vain),
        "alarms": {name: _tally(tally) for name, tally in study.alarms.items()},
        "share_alarmed": _plain(study.alarms["all"].share_alarmed),
        "rules": {name: _rule(tallies) for name, tallies in study.rules.items()},
        "left_out_service": {
            name: {"pr_auc": _plain(a), "base_rate": _plain(b)} for name, (a, b) in study.left_out.items()
        },
        "tutorial_illusion": {name: _plain(value) for name, value in study.illusion.items()},
        "origins": [
            {"at": step.at, "minutes": step.minutes, "threshold": _plain(step.threshold), "judged_on": step.runs}
            for step in study.steps
        ],
        "sizes": study.sizes,
    }


def write(study: Study, directory: Path, *, dataset: str) -> Path:
    """Write `report.html` and `figures.json`; returns the page."""
    directory.mkdir(parents=True, exist_ok=True)
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    (directory / "figures.json").write_bytes(orjson.dumps(figures(study), option=options) + b"\n")
    page = directory / "report.html"
    page.write_text(_page(study, dataset), encoding="utf-8")
    return page


def _page(study: Study, dataset: str) -> str:
    kinds = ((name, str(t.events), _share(t.recall), _number(t.median_lead)) for name, t in study.alarms.items())
    rules = (
        (name, _share(_gradual(t).recall), _number(_gradual(t).median_lead), _number(t["all"].in_vain_per_day),
         _share(t["all"].share_alarmed))
        for name, t in ({MODEL: study.alarms} | study.rules).items()
    )  # fmt: skip
    left_out = ((name, _number(area), _number(rate)) for name, (area, rate) in study.left_out.items())
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        dataset=escape(dataset),
        minutes=study.sizes["minutes"],
        breaches=study.sizes["breaches"],
        later=study.sizes["breaches_later"],
        blocks=len(study.steps),
        every_plot=_bars(study.every.areas),
        every=_ranking(study.every),
        gradual_plot=_bars(study.gradual.areas),
        gradual=_ranking(study.gradual),
        origins=_table(
            ("origin", "minutes learned from", "threshold", "judged on"),
            ((_moment(s.at), f"{s.minutes:,}", f"{s.threshold:.2f}", ", ".join(s.runs)) for s in study.steps),
        ),
        lead=str(study.lead),
        threshold=f"{study.threshold:.2f}",
        k=study.persistence.k,
        n=study.persistence.n,
        in_vain=str(study.in_vain),
        share_alarmed=_share(study.alarms["all"].share_alarmed),
        alarms=_table(("fault", "breaches", "warned of", "median lead, minutes"), kinds),
        recall=_table(("onset", "recall"), ((name, str(recall)) for name, recall in study.recall.items())),
        rules=_table(("who", "gradual faults warned of", "median lead", "in vain a day", "time under alarm"), rules),
        reliability=_diagonal(study.reliability),
        calibration=study.calibration,
        skill=study.skill,
        left_out=_table(("service", "PR-AUC", "base rate"), left_out),
        illusion=_table(
            ("the tutorial's forest, on its own label", "PR-AUC"),
            ((name, _number(value)) for name, value in study.illusion.items()),
        ),
    )


def _ranking(ranking: Ranking) -> str:
    lines = ((name, str(area), str(ranking.times.get(name, "-"))) for name, area in _sorted(ranking.areas))
    return _table(("who", "PR-AUC", f"{MODEL}, so many times that"), lines)


def _gradual(tallies: Mapping[str, Tally]) -> Tally:
    return tallies.get("gradual", Tally())


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _sorted(areas: Mapping[str, Estimate]) -> list[tuple[str, Estimate]]:
    return sorted(areas.items(), key=lambda item: -item[1].value)


def _bars(areas: Mapping[str, Estimate]) -> str:
    rows = []
    for number, (name, area) in enumerate(_sorted(areas)):
        y = 10 + 28 * number
        rows.append(
            f'<text x="0" y="{y + 14}">{escape(name)}</text>'
            f'<rect x="150" y="{y}" width="{400 * area.value:.1f}" height="18" fill="#1f5fa8"/>'
            f'<line x1="{150 + 400 * area.low:.1f}" x2="{150 + 400 * area.high:.1f}" y1="{y + 9}" y2="{y + 9}"'
            ' stroke="#111" stroke-width="2"/>'
        )
    height = 20 + 28 * len(rows)
    shapes = "".join(rows)
    return f'<figure><svg viewBox="0 0 580 {height}" role="img" aria-label="PR-AUC by model">{shapes}</svg></figure>'


def _diagonal(points: Sequence[tuple[float, float, int]]) -> str:
    dots = "".join(
        f'<circle cx="{30 + 240 * said:.1f}" cy="{270 - 240 * happened:.1f}" r="{3 + math.log10(count + 1):.1f}"/>'
        for said, happened, count in points
    )
    return f"""<figure><svg viewBox="0 0 300 300" width="300" role="img" aria-label="Reliability" fill="#c2571a">
<line x1="30" y1="270" x2="270" y2="30" stroke="#999"/>
<rect x="30" y="30" width="240" height="240" fill="none" stroke="#999"/>
{dots}</svg><figcaption>How often it happened, over what was said</figcaption></figure>"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    heads = "".join(f"<th>{escape(each)}</th>" for each in head)
    lines = []
    for first, *others in rows:
        cells = "".join(f'<td class="n">{escape(each)}</td>' for each in others)
        lines.append(f"<tr><td>{escape(first)}</td>{cells}</tr>")
    return f"<table><tr>{heads}</tr>{''.join(lines)}</table>"


def _estimates(several: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: _estimate(estimate) for name, estimate in several.items()}


def _estimate(estimate: Estimate | None) -> dict[str, float | None] | None:
    if estimate is None:
        return None
    return {"value": _plain(estimate.value), "low": _plain(estimate.low), "high": _plain(estimate.high)}


def _tally(tally: Tally) -> dict[str, float | int | None]:
    return {
        "breaches": tally.events,
        "warned_of": len(tally.leads),
        "recall": _plain(tally.recall),
        "median_lead_minutes": _plain(tally.median_lead),
    }


def _rule(tallies: Mapping[str, Tally]) -> dict[str, Any]:
    return {
        "gradual_recall": _plain(_gradual(tallies).recall),
        "median_lead_minutes": _plain(_gradual(tallies).median_lead),
        "in_vain_per_service_day": _plain(tallies["all"].in_vain_per_day),
        "share_alarmed": _plain(tallies["all"].share_alarmed),
    }


def _plain(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %" if math.isfinite(value) else "-"
