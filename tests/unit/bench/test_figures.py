"""The arithmetic behind `make bench`: a figure that is wrong here is wrong in the document."""

import math
from pathlib import Path

import pytest

from tests.bench.bench_faults import recovered_after, waited
from tests.bench.bench_profile import shared_out
from tests.bench.figures import Slice, percentile, ratios
from tests.bench.load import NO_ANSWER, Sample
from tests.bench.profiled import WAITING
from tests.bench.tables import Bar, Page


def test_a_slice_counts_what_was_taken_in_time_and_tells_the_rest() -> None:
    samples = [Sample(0.0, 1.0, 201), Sample(1.0, 0.5, 202), Sample(1.9, 0.5, 201), Sample(0.5, 0.1, 503)]
    found = Slice.of(samples, 2.0, cpu=0.6)
    assert (found.pace, found.p50, found.p99, found.failed) == (1.0, 0.5, 1.0, 1)
    assert found.cpu == pytest.approx(0.2)


def test_a_slice_in_which_nothing_was_taken_is_no_figure() -> None:
    with pytest.raises(SystemExit, match="503"):
        Slice.of([Sample(0.0, 1.0, 503)], 2.0)


def test_a_percentile_is_a_figure_that_was_measured() -> None:
    assert [percentile(range(1, 101), percent) for percent in (50, 99, 100)] == [50, 99, 100]
    assert percentile([7.0], 99) == 7.0
    assert math.isnan(percentile([], 99))


def test_ratios_are_taken_round_by_round_and_not_of_the_medians() -> None:
    # the machine was four times as fast in the last round: both had that
    spread = ratios([40, 44, 160], [10, 11, 40])
    assert (spread.median, spread.least, spread.most) == (4, 4, 4)


def test_who_got_no_answer_has_waited_all_of_the_patience() -> None:
    assert waited([Sample(0, 0.2, 201), Sample(0, 0.0, NO_ANSWER), Sample(0, 3.0, 503)]) == [0.2, 15.0, 3.0]


def test_recovery_ends_with_the_last_bad_second() -> None:
    good = [Sample(second + 0.5, 0.1, 201) for second in range(12)]
    bad = [Sample(7.2, 0.1, 503), Sample(8.4, 2.0, 201)]
    assert recovered_after([*good, *bad], 6.0, 12.0) == 3.0
    assert recovered_after(good, 6.0, 12.0) == 0.0
    assert recovered_after([*good, Sample(11.1, 0.1, 503)], 6.0, 12.0) == math.inf


def test_cpu_time_is_shared_out_as_the_samples_lie_and_threads_are_counted_whole() -> None:
    found = {
        "samples": {"client": 1.0, "database": 3.0, WAITING: 50.0},
        "threads": {"main": 8.0, "database": 1.0, "telemetry": 0.5},
    }
    assert shared_out(found) == {"client": 2.0, "database": 7.0, "telemetry": 0.5}


def test_a_bar_is_met_at_its_bound_and_never_by_what_is_no_number() -> None:
    page = Page()
    page.bar(Bar("a", 4.0, least=4))
    page.bar(Bar("b", 1.0, most=1))
    assert page.all_met()
    page.bar(Bar("c", math.nan, least=1))
    assert not page.all_met()
    assert "MISSED" in page.text()


def test_every_part_that_the_profile_names_is_a_path_of_this_tree_or_of_a_package() -> None:
    from tests.bench.profiled import _PARTS

    root = Path(__file__).resolve().parents[3]
    own = [piece.strip("/") for piece, _ in _PARTS if piece.startswith(("/shared/", "/services/"))]
    assert [path for path in own if not (root / path).exists()] == []
