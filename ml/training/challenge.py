"""`python -m ml.training.challenge`: trains a challenger with new recordings, and judges it beside the champion.

Both are judged on runs that the champion was not trained on. For each of them the challenger is what the recipe made of
all that went before it (walk-forward), so it has not seen them either. What is written, signed, when that is better
beyond doubt, is what the recipe makes of everything; every decision is a line in a file.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson

from ml import artefact
from ml.artefact import Artefact, ArtefactRefused
from ml.datasets.recording import DatasetError, Series, load
from ml.datasets.rows import rows
from ml.evaluation.forward import MODEL
from ml.evaluation.scores import Booleans, Estimate, Indices, interval, pr_auc
from ml.evaluation.study import Study, by_run, study
from ml.features.prometheus import Matrix
from ml.training.__main__ import EX_DATA, LOCAL, MODELS, RECORDED, save
from ml.training.export import scores

LEAST_BREACHES = 10
"""With fewer in the part that judges, nobody can tell which model is better."""

EX_CONFIG = 78


@dataclass(frozen=True, slots=True)
class Decision:
    """One comparison.

    pr_auc, brier: the challenger's less the champion's, over the same rows, with the interval over runs; more PR-AUC
                   and a lower Brier score are better
    challenger:    the digest of the model that was written; empty when none was
    """

    at: str
    champion: str
    promoted: bool
    why: str
    rows: int
    breaches: int
    judged_on: tuple[str, ...]
    pr_auc: Estimate
    brier: Estimate
    challenger: str = ""


def compare(
    positive: Booleans, champion: Matrix, challenger: Matrix, runs: Sequence[Indices]
) -> tuple[Estimate, Estimate]:
    """The differences of `Decision`: rows of one run are drawn together, and both models judged on the same draw."""
    by_area = interval(
        lambda chosen: pr_auc(positive[chosen], challenger[chosen]) - pr_auc(positive[chosen], champion[chosen]), runs
    )
    by_brier = interval(
        lambda chosen: _brier(positive[chosen], challenger[chosen]) - _brier(positive[chosen], champion[chosen]), runs
    )
    return by_area, by_brier


def verdict(breaches: int, by_area: Estimate, by_brier: Estimate) -> tuple[bool, str]:
    """Whether the challenger takes the champion's place, and why."""
    if breaches < LEAST_BREACHES:
        return False, f"{breaches} breaches since are too few to tell; {LEAST_BREACHES} are needed"
    if by_area.low <= 0:
        return False, f"not better beyond doubt: PR-AUC differs by {by_area}"
    if by_brier.value > 0:
        return False, f"its probabilities are worse: the Brier score differs by {by_brier}"
    return True, f"better on later data: PR-AUC differs by {by_area}"


def challenge(
    champion: Artefact, listed: Sequence[Series], minute_seconds: float, seed: int = 7
) -> tuple[Decision, Study]:
    """Walk forward through the recordings, and decide by the runs that the champion was not trained on.

    Raises ValueError: too little was recorded to be divided, or the champion was trained on all of the later part.
    """
    found = study(listed, minute_seconds, seed=seed)
    seen = set(champion.manifest.dataset.get("trained_on", ()))
    said = found.said.only(lambda series: series.run not in seen)
    judged = said.series
    if not judged:
        raise ValueError("nothing was recorded since the champion was trained: make record")
    table = rows(judged)
    breaches = sum(len(series.breaches) for series in judged)
    by_area, by_brier = compare(
        table.positive, scores(champion, table.features), said.at(table, MODEL), by_run(table, judged)
    )
    promoted, why = verdict(breaches, by_area, by_brier)
    decision = Decision(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        champion=champion.manifest.sha256,
        promoted=promoted,
        why=why,
        rows=len(table),
        breaches=breaches,
        judged_on=tuple(sorted({series.run for series in judged})),
        pr_auc=by_area,
        brier=by_brier,
    )
    return decision, found


def main(arguments: list[str] | None = None) -> int:
    """0 when a decision was made, whichever; 65 when the recordings cannot be used; 78 when the champion cannot."""
    chosen = _parse(arguments)
    try:
        champion = artefact.read(chosen.models, artefact.trusted_keys(*chosen.trusted))
    except ArtefactRefused as error:
        sys.stderr.write(f"{error}\n")
        return EX_CONFIG
    try:
        listed = [series for directory in (chosen.data, chosen.new) for series in load(directory)]
        listed.sort(key=lambda series: (series.began, series.service))
        decision, found = challenge(champion, listed, chosen.minute, chosen.seed)
    except (DatasetError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return EX_DATA
    if decision.promoted:
        written = save(found, listed, chosen.out, chosen.key, minute=chosen.minute)
        decision = replace(decision, challenger=written.sha256)
        sys.stdout.write(f"{chosen.out}: {written.sha256[:12]}. MODEL_DIR={chosen.out} make predictor\n")
    write_down(decision, chosen.decisions)
    sys.stdout.write(f"{'promoted' if decision.promoted else 'the champion stays'}: {decision.why}\n")
    return 0


def write_down(decision: Decision, path: Path) -> None:
    """Add the decision to the file, a line of JSON, on disk before it is told."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(orjson.dumps(asdict(decision)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _brier(positive: Booleans, probability: Matrix) -> float:
    return float(np.mean((positive - probability) ** 2))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.training.challenge", description=__doc__)
    parser.add_argument("--data", type=Path, default=RECORDED, help="what there was when the champion was trained")
    parser.add_argument("--new", type=Path, default=LOCAL / "recorded", help="what was recorded since")
    parser.add_argument("--models", type=Path, default=MODELS, help="of the champion")
    parser.add_argument("--trusted", type=Path, nargs="+", default=[MODELS.parent / "keys", LOCAL])
    parser.add_argument("--out", type=Path, default=LOCAL / "models", help="where a challenger that won is written")
    parser.add_argument("--decisions", type=Path, default=LOCAL / "decisions.jsonl")
    parser.add_argument("--key", type=Path, default=LOCAL / "signing.key")
    parser.add_argument("--minute", type=float, default=1.0, help="seconds of the recording that count as a minute")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
