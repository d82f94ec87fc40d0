"""The whole evaluation: one model trained on the earlier part of the recordings, judged on the later part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from sklearn.model_selection import train_test_split

from ml.datasets.recording import Series
from ml.datasets.rows import Rows, chronological, leave_one_service_out, rows
from ml.evaluation import baselines
from ml.evaluation.alarms import Tally, judge, threshold_for
from ml.evaluation.scores import (
    Booleans,
    Estimate,
    Indices,
    brier_skill,
    calibration_error,
    interval,
    pr_auc,
    reliability,
)
from ml.features.prometheus import Matrix
from ml.persistence import Persistence
from ml.training.boosted import FOLDS, Model, every_minute, train

LATER_SHARE = 0.5
BUDGET_PER_DAY = 1.0

RULES: dict[str, Callable[[Series], Matrix]] = {
    "persistence": baselines.persistence,
    "thresholds": baselines.thresholds,
    "predict_linear": baselines.predict_linear,
}


@dataclass(slots=True)
class Study:
    """Everything that the report says.

    areas:     PR-AUC on the later part by who scored, the base rate under `coin`
    alarms:    what the model's alarms were worth there, by kind and onset of the fault
    rules:     the same of each simple rule, at its own threshold for the same budget
    illusion:  the tutorial's forest by its own recipe: random split, its own label; then in the order of time
    left_out:  PR-AUC on each service by a model that never saw it, and the base rate
    trained_on, judged_on: names of runs; those near the boundary are in neither
    """

    model: Model
    threshold: float
    persistence: Persistence
    areas: dict[str, Estimate] = field(default_factory=dict)
    skill: Estimate | None = None
    calibration: Estimate | None = None
    reliability: list[tuple[float, float, int]] = field(default_factory=list)
    alarms: dict[str, Tally] = field(default_factory=dict)
    recall: dict[str, Estimate] = field(default_factory=dict)
    rules: dict[str, dict[str, Tally]] = field(default_factory=dict)
    illusion: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, tuple[float, float]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    trained_on: tuple[str, ...] = ()
    judged_on: tuple[str, ...] = ()


def study(listed: Sequence[Series], minute_seconds: float, *, seed: int = 7) -> Study:
    """Train and judge. Raises ValueError: too little was recorded to be divided."""
    earlier, later = chronological(listed, LATER_SHARE, minute_seconds)
    if not earlier or not later:
        raise ValueError("too few stretches to be divided into an earlier and a later part")
    persistence = Persistence()
    model = train(earlier, seed=seed)
    threshold = threshold_for(earlier, _unseen(earlier, seed), BUDGET_PER_DAY, persistence)
    found = Study(model, threshold, persistence, trained_on=_names(earlier), judged_on=_names(later))
    table = rows(later)
    blocks = by_run(table, later)
    probabilities = [every_minute(model, series) for series in later]
    _score(found, table, later, probabilities, blocks, earlier, seed)
    found.alarms = judge(later, probabilities, threshold, persistence)
    _recall(found, later, probabilities)
    for name, rule in RULES.items():
        level = _level(earlier, rule, persistence)
        found.rules[name] = judge(later, [rule(series) for series in later], level, persistence)
    for service, others, own in leave_one_service_out(listed):
        part = rows(own)
        found.left_out[service] = (
            pr_auc(part.positive, train(others, seed=seed).probability(part.features)),
            part.base_rate,
        )
    found.illusion |= illusion(listed, minute_seconds, seed)
    found.sizes |= {
        "series_earlier": len(earlier), "series_later": len(later), "rows_later": len(table),
        "minutes": sum(len(series) for series in listed), "breaches": sum(len(series.breaches) for series in listed),
        "breaches_later": sum(len(series.breaches) for series in later),
    }  # fmt: skip
    return found


def _score(
    found: Study,
    table: Rows,
    later: Sequence[Series],
    probabilities: Sequence[Matrix],
    blocks: Sequence[Indices],
    earlier: Sequence[Series],
    seed: int,
) -> None:
    probability = _at(table, probabilities)
    scores = {"boosted trees": probability}
    scores |= {name: _at(table, [rule(series) for series in later]) for name, rule in RULES.items()}
    forest = _tutorial(earlier, seed)
    scores["tutorial's forest"] = _at(table, [forest.score(baselines.tutorial_table(series)[0]) for series in later])
    positive = table.positive
    for name, score in scores.items():
        found.areas[name] = interval(partial(_area, positive, score), blocks)
    found.areas["coin"] = interval(lambda chosen: float(positive[chosen].mean()), blocks)
    found.skill = interval(lambda chosen: brier_skill(positive[chosen], probability[chosen]), blocks)
    found.calibration = interval(lambda chosen: calibration_error(positive[chosen], probability[chosen]), blocks)
    found.reliability = reliability(positive, probability)


def _area(positive: Booleans, score: Matrix, chosen: Indices) -> float:
    return pr_auc(positive[chosen], score[chosen])


def _recall(found: Study, later: Sequence[Series], probabilities: Sequence[Matrix]) -> None:
    """Event recall by onset, with intervals over runs."""
    runs = sorted({series.run for series in later})
    members = [np.array([index for index, series in enumerate(later) if series.run == run]) for run in runs]
    for onset in ("gradual", "abrupt"):

        def figure(chosen: Indices, onset: str = onset) -> float:
            part = [later[index] for index in chosen]
            own = [probabilities[index] for index in chosen]
            tally = judge(part, own, found.threshold, found.persistence).get(onset)
            return tally.recall if tally else float("nan")

        found.recall[onset] = interval(figure, members, rounds=200)


def _unseen(listed: Sequence[Series], seed: int) -> list[Matrix]:
    """Probabilities for each series by a model that was trained on other blocks of time."""
    found: list[Matrix] = [np.empty(0)] * len(listed)
    for fold in range(FOLDS):
        chosen = [index for index in range(len(listed)) if index * FOLDS // len(listed) == fold]
        others = [series for index, series in enumerate(listed) if index not in set(chosen)]
        model = train(others, seed=seed)
        for index in chosen:
            found[index] = every_minute(model, listed[index])
    return found


def _level(earlier: Sequence[Series], rule: Callable[[Series], Matrix], persistence: Persistence) -> float:
    """The lowest level of a rule that keeps to the budget on the earlier part: a fair chance for everybody."""
    scores = [rule(series) for series in earlier]
    known = np.concatenate(scores)
    known = known[~np.isnan(known)]
    for level in np.quantile(known, np.linspace(0.5, 0.9999, 60)):
        if level > 0 and judge(earlier, scores, float(level), persistence)["all"].in_vain_per_day <= BUDGET_PER_DAY:
            return float(level)
    return float(known.max()) + 1.0


def _tutorial(listed: Sequence[Series], seed: int) -> baselines.TutorialForest:
    inputs, label = _tutorial_rows(listed)
    return baselines.TutorialForest(seed).fit(inputs, label)


def _tutorial_rows(listed: Sequence[Series]) -> tuple[Matrix, Booleans]:
    parts = [baselines.tutorial_table(series) for series in listed]
    inputs = np.concatenate([table[: len(label)] for table, label in parts])
    return inputs, np.concatenate([label for _, label in parts])


def illusion(listed: Sequence[Series], minute_seconds: float, seed: int) -> dict[str, float]:
    """PR-AUC of the tutorial's forest on the tutorial's label: split at random, and split in the order of time."""
    inputs, label = _tutorial_rows(listed)
    learn, test, learn_label, test_label = train_test_split(
        inputs, label, test_size=0.2, random_state=42, stratify=label
    )
    at_random = baselines.TutorialForest(seed).fit(learn, learn_label).score(test)
    earlier, later = chronological(listed, LATER_SHARE, minute_seconds)
    later_inputs, later_label = _tutorial_rows(later)
    in_order = _tutorial(earlier, seed).score(later_inputs)
    return {
        "random split": pr_auc(test_label, at_random),
        "in the order of time": pr_auc(later_label, in_order),
        "base rate": float(later_label.mean()),
    }


def _names(listed: Sequence[Series]) -> tuple[str, ...]:
    return tuple(sorted({series.run for series in listed}))


def by_run(table: Rows, listed: Sequence[Series]) -> list[Indices]:
    """Rows by run: all services of one stretch together."""
    runs = np.array([series.run for series in listed])[table.series]
    return [np.flatnonzero(runs == run) for run in np.unique(runs)]


def _at(table: Rows, columns: Sequence[Matrix]) -> Matrix:
    """The values of per-minute columns at the rows of the table."""
    found = np.empty(len(table))
    for place, column in enumerate(columns):
        chosen = table.series == place
        found[chosen] = column[table.minute[chosen]]
    return found
