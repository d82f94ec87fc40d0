"""How recordings are read back, and divided without looking ahead."""

from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.campaigns.schedule import KINDS, Onset, draw
from ml.datasets.recording import QUIET, DatasetError, Series, load
from ml.datasets.rows import chronological, leave_one_service_out, rows
from ml.features.signals import NAMES, SIGNALS
from ml.features.windows import HISTORY
from ml.labels import HORIZON, Breach


def recorded(run: str, began: float, minutes: int, service: str = "order", *found: Breach) -> Series:
    table = np.tile(np.arange(minutes, dtype=float)[:, None], (1, len(SIGNALS)))
    return Series(run, service, began, table, found, (("memory-leak", "gradual"),) * len(found))


def test_no_row_of_the_later_part_shares_a_minute_with_the_earlier_one() -> None:
    listed = [recorded(f"run-{n}", n * 100.0, 100) for n in range(20)]
    earlier, later = chronological(listed, 0.4, 1.0)
    last = max(series.began + len(series) for series in earlier)
    assert last + HORIZON + HISTORY <= min(series.began for series in later)
    assert len(later) == 8
    assert earlier


def test_stretches_side_by_side_fall_on_the_same_side() -> None:
    listed = [recorded(f"run-{n}", n * 200.0, 100, service) for n in range(10) for service in ("order", "payment")]
    earlier, later = chronological(listed, 0.4, 1.0)
    assert not {series.run for series in earlier} & {series.run for series in later}


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
    assert min(ramps) >= 35
