"""How recordings are read back, and divided without looking ahead."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.campaigns.schedule import KINDS, Onset, draw
from ml.datasets.recording import QUIET, DatasetError, Series, load
from ml.datasets.rows import abrupt_only, leave_one_service_out, rows, walk_forward
from ml.features.signals import NAMES, SIGNALS
from ml.features.windows import HISTORY
from ml.labels import HORIZON, Breach


def recorded(run: str, began: float, minutes: int, service: str = "order", *found: Breach) -> Series:
    table = np.tile(np.arange(minutes, dtype=float)[:, None], (1, len(SIGNALS)))
    return Series(run, service, began, table, found, (("memory-leak", "gradual"),) * len(found))


def test_a_model_never_learns_from_a_minute_that_is_less_than_an_embargo_before_its_block() -> None:
    listed = [recorded(f"run-{n}", n * 100.0, 100) for n in range(20)]
    origins = walk_forward(listed, 0.4, 3, 1.0)
    assert len(origins) == 3
    for origin in origins:
        assert origin.at == min(series.began for series in origin.block)
        last = max(series.began + len(series) for series in origin.earlier)
        assert last + HORIZON + HISTORY <= origin.at


def test_every_later_run_is_judged_once_and_each_block_is_learned_from_by_the_next_origin() -> None:
    listed = [recorded(f"run-{n:02}", n * 500.0, 100) for n in range(20)]
    origins = walk_forward(listed, 0.4, 4, 1.0)
    assert [series.run for origin in origins for series in origin.block] == [f"run-{n}" for n in range(12, 20)]
    for before, after in pairwise(origins):
        assert {series.run for series in before.earlier + before.block} == {series.run for series in after.earlier}


def test_a_stretch_that_is_under_way_at_an_origin_is_known_up_to_the_embargo() -> None:
    listed = [
        recorded("long", 0.0, 1000, "order", Breach(200, 220), Breach(435, 450), Breach(600, 620)),
        recorded("later", 500.0, 300),
    ]
    (origin,) = walk_forward(listed, 0.5, 1, 1.0)
    (known,) = origin.earlier
    assert len(known) == 500 - HORIZON - HISTORY
    assert known.breaches == (Breach(200, 220), Breach(435, 440))
    assert len(known.kinds) == 2
    assert np.array_equal(known.signals, listed[0].signals[:440])


def test_no_block_begins_between_stretches_side_by_side() -> None:
    listed = [
        recorded(f"run-{n}-{stack}", n * 500.0 + stack, 100, service)
        for n in range(10)
        for stack in (0, 1)
        for service in ("order", "payment")
    ]
    for blocks in range(1, 11):
        for origin in walk_forward(listed, 0.45, blocks, 1.0):
            numbers = [series.run.rsplit("-", 1)[0] for series in origin.block]
            assert all(numbers.count(number) == 4 for number in numbers)


def test_without_anything_before_it_nothing_is_judged() -> None:
    assert walk_forward([recorded("run", 0.0, 300)], 0.5, 3, 1.0) == []


def test_rows_before_abrupt_breaches_only_are_told_apart() -> None:
    series = recorded("run", 0.0, 400, "order", Breach(100, 105), Breach(200, 205), Breach(215, 220), Breach(330, 340))
    kinds = (("killed", "abrupt"), ("pool-leak", "gradual"), ("errors", "abrupt"), ("killed", "abrupt"))
    table = rows([replace(series, kinds=kinds)])
    left_out = table.minute[abrupt_only([replace(series, kinds=kinds)], table)]
    assert left_out.tolist() == [*range(70, 90), *range(300, 320)]  # of 215 all minutes are before 200 as well
    assert table.positive[np.isin(table.minute, left_out)].all()


def test_a_service_left_out_is_nowhere_among_the_others() -> None:
    listed = [recorded("run", 0.0, 50, service) for service in ("order", "payment", "inventory")]
    for service, others, own in leave_one_service_out(listed):
        assert {series.service for series in own} == {service}
        assert service not in {series.service for series in others}


def test_rows_know_their_series_and_minute() -> None:
    table = rows([recorded("short", 0.0, 20), recorded("run", 0.0, 200, "order", Breach(150, 160))])
    assert set(table.series) == {1}
    assert table.minute.min() == HISTORY - 1
    assert table.minute[table.positive].tolist() == list(range(120, 140))
    assert table.features[0, 0] == pytest.approx(np.mean(range(25, 30)))


def write(path: Path, minutes: int, bad: slice, active: slice) -> None:
    columns = {name: np.zeros(minutes, dtype=np.float32) for name in NAMES}
    errors = np.zeros(minutes, dtype=np.float32)
    errors[bad] = 0.5
    on = np.zeros(minutes, dtype=bool)
    on[active] = True
    pq.write_table(
        pa.table(
            {
                "run": ["run"] * minutes, "service": ["order"] * minutes, "minute": list(range(minutes)),
                "time": [1000.0 + n for n in range(minutes)], **columns, "seen_error_ratio": errors,
                "seen_p99": np.full(minutes, 0.1, dtype=np.float32), "episode": ["pool-leak"] * minutes,
                "onset": ["gradual"] * minutes, "struck": ["payment"] * minutes, "active": on,
            }
        ),
        path,
    )  # fmt: skip


def test_a_breach_has_the_kind_of_the_fault_that_was_in_force(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", 100, slice(50, 60), slice(20, 60))
    (series,) = load(tmp_path)
    assert series.breaches == (Breach(50, 60),)
    assert series.kinds == (("pool-leak", "gradual"),)


def test_a_breach_without_a_fault_is_nobody_s(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", 100, slice(50, 60), slice(0, 5))
    assert load(tmp_path)[0].kinds == ((QUIET, QUIET),)


def test_a_file_that_is_no_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no recording"):
        load(tmp_path)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DatasetError, match=r"other\.parquet"):
        load(tmp_path)


def test_a_seed_draws_the_same_campaign_and_every_kind_comes() -> None:
    first, again = Random(7), Random(7)
    drawn = [draw(first) for _ in range(400)]
    assert drawn == [draw(again) for _ in range(400)]
    assert {episode.kind.name for episode in drawn} == {kind.name for kind in KINDS}
    assert all(episode.service in episode.kind.services for episode in drawn)
    ramps = [episode.ramp for episode in drawn if episode.kind.onset is Onset.GRADUAL]
    assert min(ramps) >= 3 * HORIZON
