"""The whole evaluation: how the recipe did walking forward, and the model that it makes of everything."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import numpy as np

from ml.datasets.recording import Series
from ml.datasets.rows import Rows, abrupt_only, leave_one_service_out, rows
from ml.evaluation.alarms import Tally, judge, level_for, together
from ml.evaluation.forward import BUDGET_PER_DAY, FOREST, MODEL, RULES, Forecasts, Learn, Step, forecasts
from ml.evaluation.illusion import illusion
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
from ml.training.forest import Model, train

COIN = "coin"


@dataclass(slots=True)
class Ranking:
    """How well each scorer puts the minutes before a breach first, on the same rows.

    areas: PR-AUC by who scored, the base rate under `coin`
    times: the model's PR-AUC over that of each other, both of the same draw of runs
    """

    areas: dict[str, Estimate] = field(default_factory=dict)
    times: dict[str, Estimate] = field(default_factory=dict)


@dataclass(slots=True)
class Study:
    """Everything that the report says.

    model, threshold: from all recordings; what is shipped. Every figure is of models that knew only what went before
    every:    over all rows
    gradual:  without the rows that are positive for an abrupt fault's breach
    alarms:   what the model's alarms were worth, by kind and onset of the fault
    rules:    the same of each simple rule, at its own level for the same budget
    illusion: the tutorial's forest by its own recipe: random split, its own label; then in the order of time
    left_out: PR-AUC on each service by a model that never saw it, and the base rate
    said:     the later series and what was said of them
    trained_on, judged_on: names of runs
    """

    model: Model
    threshold: float
    persistence: Persistence
    said: Forecasts
    every: Ranking = field(default_factory=Ranking)
    gradual: Ranking = field(default_factory=Ranking)
    skill: Estimate | None = None
    calibration: Estimate | None = None
    reliability: list[tuple[float, float, int]] = field(default_factory=list)
    alarms: dict[str, Tally] = field(default_factory=dict)
    recall: dict[str, Estimate] = field(default_factory=dict)
    lead: Estimate | None = None
    in_vain: Estimate | None = None
    rules: dict[str, dict[str, Tally]] = field(default_factory=dict)
    illusion: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, tuple[float, float]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    trained_on: tuple[str, ...] = ()
    judged_on: tuple[str, ...] = ()

    @property
    def steps(self) -> list[Step]:
        """When a model was trained anew, and on how much."""
        return self.said.steps


def study(listed: Sequence[Series], minute_seconds: float, *, seed: int = 7) -> Study:
    """Walk forward, judge, and train on everything. Raises ValueError: too little was recorded to be divided."""
    persistence = Persistence()
    learn: Learn = partial(train, seed=seed)
    said = forecasts(listed, minute_seconds, persistence, seed=seed, learn=learn)
    model, unseen = learn(listed)
    found = Study(model, level_for(listed, unseen, BUDGET_PER_DAY, persistence), persistence, said)
    found.trained_on, found.judged_on = _names(listed), _names(said.series)
    _rank(found)
    _judge(found)
    for service, others, own in leave_one_service_out(listed):
        part = rows(own)
        stranger = learn(others)[0]
        found.left_out[service] = pr_auc(part.positive, stranger.probability(part.features)), part.base_rate
    found.illusion |= illusion(listed, minute_seconds, seed)
    found.sizes |= {
        "minutes": sum(map(len, listed)), "breaches": _breaches(listed),
        "minutes_later": sum(map(len, said.series)), "breaches_later": _breaches(said.series),
    }  # fmt: skip
    return found


def _rank(found: Study) -> None:
    said = found.said
    table = rows(said.series)
    scores = {name: said.at(table, name) for name in (MODEL, *RULES, FOREST)}
    blocks = by_run(table, said.series)
    found.every = rank(table.positive, scores, blocks)
    found.gradual = rank(table.positive, scores, without(abrupt_only(said.series, table), blocks))
    positive, probability = table.positive, scores[MODEL]
    found.skill = interval(lambda chosen: brier_skill(positive[chosen], probability[chosen]), blocks)
    found.calibration = interval(lambda chosen: calibration_error(positive[chosen], probability[chosen]), blocks)
    found.reliability = reliability(positive, probability)
    found.sizes |= {"rows_later": len(table), "series_later": len(said.series)}


def rank(positive: Booleans, scores: dict[str, Matrix], blocks: Sequence[Indices]) -> Ranking:
    """The figures of `Ranking` over the rows in `blocks`, one block a run, the same rows for every scorer."""
    found = Ranking()
    for name, score in scores.items():
        found.areas[name] = interval(partial(_area, positive, score), blocks)
        if name != MODEL:
            found.times[name] = interval(partial(_times, positive, scores[MODEL], score), blocks)
    found.areas[COIN] = interval(lambda chosen: float(positive[chosen].mean()), blocks)
    return found


def without(left_out: Booleans, blocks: Sequence[Indices]) -> list[Indices]:
    """The blocks without some rows; a block of which nothing remains is none."""
    remaining = [block[~left_out[block]] for block in blocks]
    return [block for block in remaining if len(block)]


def _area(positive: Booleans, score: Matrix, chosen: Indices) -> float:
    return pr_auc(positive[chosen], score[chosen])


def _times(positive: Booleans, score: Matrix, other: Matrix, chosen: Indices) -> float:
    least = _area(positive, other, chosen)
    return _area(positive, score, chosen) / least if least > 0 else float("nan")


def _judge(found: Study) -> None:
    said = found.said
    by_series = [
        judge([series], [score], level, found.persistence)
        for series, score, level in zip(said.series, said.scores[MODEL], said.levels[MODEL], strict=True)
    ]
    found.alarms = together(by_series)
    runs = np.array([series.run for series in said.series])
    members = [np.flatnonzero(runs == run) for run in np.unique(runs)]

    def of(name: str, figure: str, chosen: Indices) -> float:
        tally = together([by_series[place] for place in chosen]).get(name, Tally())
        return float(getattr(tally, figure))

    for onset in ("gradual", "abrupt"):
        found.recall[onset] = interval(partial(of, onset, "recall"), members)
    found.lead = interval(partial(of, "gradual", "median_lead"), members)
    found.in_vain = interval(partial(of, "all", "in_vain_per_day"), members)
    for name in RULES:
        found.rules[name] = together(
            judge([series], [score], level, found.persistence)
            for series, score, level in zip(said.series, said.scores[name], said.levels[name], strict=True)
        )


def _names(listed: Sequence[Series]) -> tuple[str, ...]:
    return tuple(sorted({series.run for series in listed}))


def _breaches(listed: Sequence[Series]) -> int:
    return len(list(chain.from_iterable(series.breaches for series in listed)))


def by_run(table: Rows, listed: Sequence[Series]) -> list[Indices]:
    """Rows by run: all services of one stretch together."""
    runs = np.array([series.run for series in listed])[table.series]
    return [np.flatnonzero(runs == run) for run in np.unique(runs)]
