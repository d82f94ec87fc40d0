"""`python -m ml.training`: recorded data -> report -> signed model. `--evaluate` stops at the report and compares."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ml import artefact
from ml.artefact import ArtefactRefused
from ml.datasets.recording import DatasetError, Series, load
from ml.datasets.rows import rows
from ml.evaluation import report
from ml.evaluation.forward import MODEL
from ml.evaluation.study import Study, study
from ml.features.prometheus import Matrix
from ml.features.windows import FEATURES, HISTORY
from ml.training.export import as_onnx, scores

MODELS = Path(__file__).resolve().parents[1] / "models"
RECORDED = Path(__file__).resolve().parents[1] / "datasets" / "recorded"
LOCAL = Path(__file__).resolve().parents[2] / ".local" / "ml"
KEYS = MODELS.parent / "keys"
EX_DATA = 65
_BINS = 10
_SLACK = 0.01
"""So far another processor's rounding may move a figure."""


def main(arguments: list[str] | None = None) -> int:
    """0 when done; 1 when an evaluation does not reproduce the committed figures; 65 when the data cannot be used."""
    chosen = _parse(arguments)
    try:
        listed = load(chosen.data)
        found = study(listed, chosen.minute, seed=chosen.seed)
    except (DatasetError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return EX_DATA
    page = report.write(found, chosen.report, dataset=chosen.data.name)
    sys.stdout.write(f"{summary(found)}\n{page}\n")
    if chosen.evaluate:
        return _compare(found, listed, chosen.models, chosen.trusted)
    written = save(found, listed, chosen.models, chosen.key, minute=chosen.minute)
    sys.stdout.write(f"{chosen.models / artefact.MODEL} {written.sha256[:12]}\n")
    return 0


def save(found: Study, listed: list[Series], directory: Path, key: Path, *, minute: float) -> artefact.Manifest:
    """Export, sign and write the study's model, with what is known of the rows that it was trained on."""
    table = rows(listed)
    manifest: dict[str, Any] = {
        "format": artefact.FORMAT,
        "name": f"{MODEL} over windows",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "features": list(FEATURES),
        "history_minutes": HISTORY,
        "calibration": {"slope": found.model.platt.slope, "intercept": found.model.platt.intercept},
        "threshold": found.threshold,
        "persistence": (found.persistence.k, found.persistence.n),
        "medians": medians(table.features),
        "drift": drift(table.features),
        "dataset": {"minute_seconds": minute, "trained_on": found.trained_on, "judged_on": found.judged_on},
        "metrics": report.figures(found),
    }
    return artefact.write(directory, as_onnx(found.model, table.features[:2000]), manifest, artefact.signing_key(key))


def medians(table: Matrix) -> list[float | None]:
    """The middle of each feature in training; None for one that was never known."""
    known = ~np.isnan(table)
    return [
        float(np.median(table[known[:, index], index])) if known[:, index].any() else None
        for index in range(table.shape[1])
    ]


def drift(table: Matrix) -> dict[str, Any]:
    """How each signal's level was spread, for the sidecar to compare with."""
    found: dict[str, Any] = {}
    for index, name in enumerate(FEATURES):
        if not name.endswith(".level"):
            continue
        column = table[:, index]
        known = column[~np.isnan(column)]
        edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(known) else np.empty(0)
        counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
        shares = counts / max(1, len(known))
        found[name] = {"edges": edges.tolist(), "shares": shares.tolist(), "missing": float(np.isnan(column).mean())}
    return found


def summary(found: Study) -> str:
    """The figures that matter, a line each."""
    lines = [f"walked forward through {len(found.judged_on)} runs, trained anew {len(found.steps)} times"]
    for title, ranking in (("all rows", found.every), ("without abrupt faults' rows", found.gradual)):
        lines.append(f"PR-AUC, {title}:")
        for name, area in sorted(ranking.areas.items(), key=lambda item: -item[1].value):
            times = f"   {MODEL}: {ranking.times[name]} times that" if name in ranking.times else ""
            lines.append(f"  {name:20s} {area}{times}")
    lines.append(f"gradual faults: {found.recall['gradual']} warned of, median lead {found.lead} minutes")
    lines.append(f"abrupt faults:  {found.recall['abrupt']} warned of")
    share = 100 * found.alarms["all"].share_alarmed
    lines.append(f"alarms in vain: {found.in_vain} a service and day; an alarm is in force {share:.0f} % of the time")
    lines.append(f"calibration error {found.calibration}, Brier skill {found.skill}")
    lines.append(f"threshold of the model that is shipped: {found.threshold:.3f}")
    return "\n".join(lines)


def reproduced(fresh: dict[str, Any], committed: dict[str, Any]) -> list[tuple[bool, str]]:
    """For each committed figure with an interval: whether the fresh one lies within, and a line that says so.

    A figure that either side lacks is not reproduced.
    """
    found = []
    for name, interval in sorted(_with_intervals(committed).items()):
        value = _with_intervals(fresh).get(name, {}).get("value")
        if interval["value"] is None:  # nothing of its kind was recorded
            within = value is None
        else:
            within = value is not None and interval["low"] - _SLACK <= value <= interval["high"] + _SLACK
        found.append((within, f"{name}: {value} of [{interval['low']}, {interval['high']}]"))
    return found


def _with_intervals(figures: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(figures, dict):
        return {}
    if {"value", "low", "high"} <= figures.keys():
        return {path: figures}
    found: dict[str, Any] = {}
    for name, part in figures.items():
        found |= _with_intervals(part, f"{path}.{name}" if path else name)
    return found


def _compare(found: Study, listed: list[Series], models: Path, trusted: Path) -> int:
    try:
        committed = artefact.read(models, artefact.trusted_keys(trusted))
    except ArtefactRefused as error:
        sys.stderr.write(f"nothing to compare with: {error}\n")
        return EX_DATA
    lines = reproduced(report.figures(found), committed.manifest.metrics)
    table = rows(listed).features
    apart = float(np.abs(scores(committed, table) - found.model.probability(table)).mean())
    lines.append((apart < _SLACK, f"what the signed model and a fresh one say is {apart:.4f} apart on average"))
    for within, line in lines:
        sys.stdout.write(f"{'within ' if within else 'OUTSIDE'}  {line}\n")
    return 0 if all(within for within, _ in lines) else 1


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.training", description=__doc__)
    parser.add_argument("--data", type=Path, default=RECORDED)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--report", type=Path, default=LOCAL / "report")
    parser.add_argument("--key", type=Path, default=LOCAL / "signing.key")
    parser.add_argument("--trusted", type=Path, default=KEYS, help="whose signature --evaluate believes")
    parser.add_argument("--minute", type=float, default=1.0, help="seconds of the recording that count as a minute")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--evaluate", action="store_true", help="no new model: compare with the committed figures")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
