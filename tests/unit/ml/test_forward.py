"""Walking forward: what a model is judged on it has never seen, and every scorer is judged on the same rows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from ml.calibration import Platt
from ml.datasets.recording import Series
from ml.datasets.rows import abrupt_only, rows
from ml.evaluation.forward import FOREST, MODEL, RULES, forecasts
from ml.evaluation.study import COIN, by_run, rank, without
from ml.features.prometheus import Matrix
from ml.features.signals import NAMES, SIGNALS
from ml.features.windows import FEATURES, HISTORY
from ml.labels import HORIZON, Breach
from ml.persistence import Persistence
from ml.training.forest import FOLDS, Model, folds, train

MINUTES = 300
LEVEL = FEATURES.index("memory.level")
TWO_OF_THREE = Persistence(2, 3)


def stretch(number: int, service: str = "order") -> Series:
    """A leak up to a breach, as noisy as the number says; every other one's breach is called abrupt."""
    random = np.random.default_rng(number)
    table = random.uniform(0.1, 0.2, (MINUTES, len(SIGNALS)))
    table[100:200, NAMES.index("memory")] += np.linspace(0, 0.8, 100)
    kind = ("killed", "abrupt") if number % 2 else ("memory-leak", "gradual")
    return Series(f"run-{number:02}", service, number * 320.0, table, (Breach(200, 220),), (kind,))


class Knows:
    """Stands for trees: what memory is now is the probability."""

    def predict_proba(self, table: Matrix) -> Matrix:
        """Both classes' probabilities."""
        column = np.clip(table[:, LEVEL].astype(float), 0, 1)
        return np.stack([1 - column, column], axis=1)


@pytest.fixture(scope="module")
def listed() -> list[Series]:
    return [stretch(number, service) for number in range(12) for service in ("order", "payment")]


def test_no_model_saw_a_minute_at_or_after_its_block_or_in_the_embargo_before_it(listed: list[Series]) -> None:
    learned: list[list[Series]] = []

    def learn(earlier: Sequence[Series]) -> tuple[Model, list[Matrix]]:
        learned.append(list(earlier))
        model = Model(Knows(), Platt(1.0, 0.0))  # type: ignore[arg-type]
        return model, [series.signals[:, NAMES.index("memory")] for series in earlier]

    said = forecasts(listed, 1.0, TWO_OF_THREE, learn=learn)
    assert len(said.steps) == len(learned) > 2
    for step, earlier in zip(said.steps, learned, strict=True):
        assert not {series.run for series in earlier} & set(step.runs)
        assert max(series.began + len(series) for series in earlier) + HORIZON + HISTORY <= step.at
        assert all(series.began >= step.at for series in listed if series.run in step.runs)
        assert step.minutes == sum(map(len, earlier))
    assert [series.run for series in said.series] == [f"run-{n:02}" for n in range(6, 12) for _ in range(2)]
    assert set(said.scores) == {MODEL, FOREST, *RULES}
    for scores in said.scores.values():
        assert [len(score) for score in scores] == [MINUTES] * len(said.series)


def test_what_is_said_of_a_block_does_not_change_with_what_comes_later(listed: list[Series]) -> None:
    def learn(earlier: Sequence[Series]) -> tuple[Model, list[Matrix]]:
        everything = float(sum(series.signals.sum() for series in earlier))  # whatever changes is noticed
        model = Model(Knows(), Platt(1.0, everything / 1e6))  # type: ignore[arg-type]
        return model, [series.signals[:, NAMES.index("memory")] for series in earlier]

    def of_each(series: Sequence[Series]) -> dict[str, Matrix]:
        said = forecasts(series, 1.0, TWO_OF_THREE, learn=learn)
        return {
            f"{each.run} {name}": np.append(scores[place], said.levels.get(name, [0.0] * 99)[place])
            for name, scores in said.scores.items()
            for place, each in enumerate(said.series)
        }

    few = [series for series in listed if series.service == "order"][:8]
    whole, changed = of_each(few), of_each([*few[:-2], *(replace(s, signals=s.signals[::-1] * 3) for s in few[-2:])])
    same = {name for name, score in whole.items() if np.array_equal(score, changed[name], equal_nan=True)}
    later = {name for name in whole if name.startswith(("run-06", "run-07"))}
    assert set(whole) - later <= same
    assert not {f"run-06 {MODEL}", f"run-07 {MODEL}"} & same


def test_abrupt_rows_are_left_out_for_every_scorer_and_the_base_rate_alike(listed: list[Series]) -> None:
    listed = listed[:8]
    table = rows(listed)
    random = np.random.default_rng(1)
    truth = table.positive + random.normal(0, 0.1, len(table))
    left_out = abrupt_only(listed, table)
    assert 0 < left_out.sum() < table.positive.sum()
    blind = np.where(left_out, -1.0, truth)  # knows everything but what is abrupt
    scores = {MODEL: blind, "other": truth}
    blocks = by_run(table, listed)
    every = rank(table.positive, scores, blocks)
    gradual = rank(table.positive, scores, without(left_out, blocks))
    assert every.areas[MODEL].value < 0.7 < gradual.areas[MODEL].value
    assert gradual.areas["other"] == gradual.areas[MODEL]
    assert gradual.times["other"].value == gradual.times["other"].low == gradual.times["other"].high == 1
    kept = ~left_out
    assert gradual.areas[COIN].value == pytest.approx(table.positive[kept].mean())
    assert every.areas[COIN].value == pytest.approx(table.positive.mean())


def test_a_ratio_is_of_the_same_draw_so_its_interval_is_narrower_than_the_areas_make_it(listed: list[Series]) -> None:
    table = rows(listed)
    random = np.random.default_rng(2)
    hard = np.repeat(random.uniform(0.2, 3, len(listed)), np.bincount(table.series))  # some runs are hard for everybody
    score = table.positive + hard * random.normal(0, 1, len(table))
    scores = {MODEL: score, "nearly": score + random.normal(0, 0.05, len(table))}
    found = rank(table.positive, scores, by_run(table, listed))
    times = found.times["nearly"]
    assert times.low < 1.1
    assert times.high - times.low < (found.areas[MODEL].high - found.areas[MODEL].low) / found.areas[MODEL].value / 2


def test_folds_keep_runs_whole_and_in_the_order_of_time(listed: list[Series]) -> None:
    found = folds(listed)
    for run in {series.run for series in listed}:
        assert len({number for number, series in zip(found, listed, strict=True) if series.run == run}) == 1
    assert found.tolist() == sorted(found.tolist())
    assert set(found.tolist()) == set(range(FOLDS))


def test_what_is_said_out_of_fold_is_a_probability_for_every_minute_with_a_history(listed: list[Series]) -> None:
    model, unseen = train(listed[:12])
    assert [len(each) for each in unseen] == [MINUTES] * 12
    for each in unseen:
        assert np.isnan(each[: HISTORY - 1]).all()
        assert ((each[HISTORY - 1 :] >= 0) & (each[HISTORY - 1 :] <= 1)).all()
    table = rows(listed[:12])
    held_out = np.concatenate([unseen[place][table.minute[table.series == place]] for place in range(12)])
    # Platt's line was fitted to these very probabilities, so on average they are right
    assert held_out.mean() == pytest.approx(table.base_rate, abs=0.002)
    assert model.probability(table.features)[table.positive].mean() > 0.5
