"""`python -m ml.training`: recorded data -> report -> signed model. `--evaluate` stops at the report and compares."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ml import artefact
from ml.datasets.recording import DatasetError, Series, load
from ml.datasets.rows import rows
from ml.evaluation import report
from ml.evaluation.study import Study, study
from ml.features.prometheus import Matrix
from ml.features.windows import FEATURES, HISTORY
from ml.training.export import as_onnx

MODELS = Path(__file__).resolve().parents[1] / "models"
RECORDED = Path(__file__).resolve().parents[1] / "datasets" / "recorded"
LOCAL = Path(__file__).resolve().parents[2] / ".local" / "ml"
_BINS = 10


def main(arguments: list[str] | None = None) -> int:
    """0 when done; 1 when an evaluation does not reproduce the committed figures; 65 when the data cannot be used."""
    chosen = _parse(arguments)
    try:
        listed = load(chosen.data)
        found = study(listed, chosen.minute, seed=chosen.seed)
    except (DatasetError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 65
    page = report.write(found, chosen.report, dataset=chosen.data.name)
    sys.stdout.write(f"{summary(found)}\n{page}\n")
    if chosen.evaluate:
        return _compare(report.figures(found), chosen.models / artefact.MANIFEST)
    written = save(found, listed, chosen.models, chosen.key, minute=chosen.minute)
    sys.stdout.write(f"{chosen.models / artefact.MODEL} {written.sha256[:12]}\n")
    return 0


def save(found: Study, listed: list[Series], directory: Path, key: Path, *, minute: float) -> artefact.Manifest:
    """Export, sign and write the study's model, with what is known of the rows that it was trained on."""
    table = rows([series for series in listed if series.run in found.trained_on])
    manifest: dict[str, Any] = {
        "format": artefact.FORMAT,
        "name": "boosted trees over windows",
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
    gradual = found.alarms.get("gradual")
    best_first = sorted(found.areas.items(), key=lambda item: -item[1].value)
    lines = [f"PR-AUC  {name:20s} {area}" for name, area in best_first]
    if gradual is not None:
        lead = f"median lead {gradual.median_lead:.0f} minutes"
        lines.append(f"gradual faults: {found.recall['gradual']} warned of, {lead}")
    lines.append(f"abrupt faults:  {found.recall.get('abrupt')} warned of")
    in_vain = found.alarms["all"].in_vain_per_day
    lines.append(f"alarms in vain: {in_vain:.2f} a service and day (threshold {found.threshold})")
    lines.append(f"calibration error {found.calibration}, Brier skill {found.skill}")
    return "\n".join(lines)


def _compare(fresh: dict[str, Any], path: Path) -> int:
    try:
        committed = orjson.loads(path.read_bytes())["metrics"]
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"nothing to compare with: {error}\n")
        return 65
    status = 0
    for name, interval in committed["pr_auc"].items():
        value = fresh["pr_auc"][name]["value"]
        within = interval["low"] - 0.01 <= value <= interval["high"] + 0.01
        status |= 0 if within else 1
        sys.stdout.write(
            f"{'within' if within else 'OUTSIDE'}  {name}: {value} of [{interval['low']}, {interval['high']}]\n"
        )
    return status


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.training", description=__doc__)
    parser.add_argument("--data", type=Path, default=RECORDED)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--report", type=Path, default=LOCAL / "report")
    parser.add_argument("--key", type=Path, default=LOCAL / "signing.key")
    parser.add_argument("--minute", type=float, default=1.0, help="seconds of the recording that count as a minute")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--evaluate", action="store_true", help="no new model: compare with the committed figures")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
