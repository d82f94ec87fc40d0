"""Walk-forward: trained on what was known by a moment, judged on what came next, then trained anew, as it is in use."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ml.datasets.recording import Series
from ml.datasets.rows import Rows, walk_forward
from ml.evaluation import baselines
from ml.evaluation.alarms import level_for
from ml.evaluation.scores import Booleans
from ml.features.prometheus import Matrix
from ml.persistence import Persistence
from ml.training.forest import Model, every_minute, train

LATER_SHARE = 0.5
"""Of the runs: what is judged."""

BLOCKS = 6
"""So often a model is trained anew there: about every two stretches, which is half an hour of the recording."""

BUDGET_PER_DAY = 1.0
"""Alarms in vain for each service and day, on what was known when the level was chosen."""

MODEL, FOREST = "random trees", "tutorial's forest"

RULES: dict[str, Callable[[Series], Matrix]] = {
    "persistence": baselines.persistence,
    "thresholds": baselines.thresholds,
    "predict_linear": baselines.predict_linear,
}

Learn = Callable[[Sequence[Series]], tuple[Model, list[Matrix]]]
"""From series to a model, and what it would have said of each had it not seen them."""


@dataclass(frozen=True, slots=True)
class Step:
    """One origin: when, how many minutes were learned from, the threshold, and the runs that judged it."""

    at: float
    minutes: int
    threshold: float
    runs: tuple[str, ...]


@dataclass(slots=True)
class Forecasts:
    """What was said of every minute of the later runs by models that knew only what went before.

    series: of all blocks together
    scores: by who scored, for each of the series one value a minute
    levels: for each of the series, the level at which the model and each rule raise an alarm, chosen at its origin
    """

    series: list[Series] = field(default_factory=list)
    scores: dict[str, list[Matrix]] = field(default_factory=dict)
    levels: dict[str, list[float]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def at(self, table: Rows, name: str) -> Matrix:
        """One scorer's values at the rows of a table of `series`."""
        found = np.empty(len(table))
        for place, column in enumerate(self.scores[name]):
            chosen = table.series == place
            found[chosen] = column[table.minute[chosen]]
        return found

    def only(self, chosen: Callable[[Series], bool]) -> "Forecasts":
        """What was said of some of the series."""
        places = [place for place, series in enumerate(self.series) if chosen(series)]
        return Forecasts(
            [self.series[place] for place in places],
            {name: [scores[place] for place in places] for name, scores in self.scores.items()},
            {name: [levels[place] for place in places] for name, levels in self.levels.items()},
            self.steps,
        )


def forecasts(
    listed: Sequence[Series],
    minute_seconds: float,
    persistence: Persistence,
    *,
    seed: int = 7,
    learn: Learn | None = None,
) -> Forecasts:
    """Go forward through the later runs. Raises ValueError: too little was recorded to be divided."""
    origins = walk_forward(listed, LATER_SHARE, BLOCKS, minute_seconds)
    if not origins:
        raise ValueError("too few stretches to be divided into an earlier and a later part")
    learn = learn or partial(train, seed=seed)
    found = Forecasts()
    for origin in origins:
        model, unseen = learn(origin.earlier)
        threshold = level_for(origin.earlier, unseen, BUDGET_PER_DAY, persistence)
        forest = tutorials_forest(origin.earlier, seed)
        found.series += origin.block
        _add(found, MODEL, [every_minute(model, series) for series in origin.block], threshold)
        _add(found, FOREST, [forest.score(baselines.tutorial_table(series)[0]) for series in origin.block])
        for name, rule in RULES.items():
            level = level_for(origin.earlier, [rule(series) for series in origin.earlier], BUDGET_PER_DAY, persistence)
            _add(found, name, [rule(series) for series in origin.block], level)
        runs = tuple(sorted({series.run for series in origin.block}))
        found.steps.append(Step(origin.at, sum(map(len, origin.earlier)), threshold, runs))
    return found


def _add(found: Forecasts, name: str, scores: list[Matrix], level: float | None = None) -> None:
    found.scores.setdefault(name, []).extend(scores)
    if level is not None:
        found.levels.setdefault(name, []).extend([level] * len(scores))


def tutorials_forest(listed: Sequence[Series], seed: int) -> baselines.TutorialForest:
    """The tutorial's forest, fitted to its own label of the series."""
    inputs, label = tutorials_rows(listed)
    return baselines.TutorialForest(seed).fit(inputs, label)


def tutorials_rows(listed: Sequence[Series]) -> tuple[Matrix, Booleans]:
    """The tutorial's inputs and label, for every minute that has a label."""
    parts = [baselines.tutorial_table(series) for series in listed]
    inputs = np.concatenate([table[: len(label)] for table, label in parts])
    return inputs, np.concatenate([label for _, label in parts])
