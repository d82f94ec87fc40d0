"""The judge of the soak: finds what leaks, and nothing where nothing does."""

import math
from random import Random

import pytest
from scipy.stats import theilslopes

from tests.soak.judge import Point, Series, Verdict, Window, judge, read_bounds
from tests.soak.slope import slope

FIVE_MINUTES = Window(0.0, 300.0, warm_up=75.0)
AN_HOUR = Window(0.0, 3600.0, warm_up=300.0)


def verdict(points: list[Point], metric: str = "memory", window: Window = FIVE_MINUTES) -> Verdict:
    series = Series()
    for point in points:
        series.add(metric, "order-1", point)
    (finding,) = judge(series, window, read_bounds())
    assert (finding.metric, finding.process) == (metric, "order-1")
    return finding.verdict


def sampled(
    seconds: float,
    *,
    level: float = 100.0,
    a_minute: float = 0.0,
    noise: float = 0.4,
    seed: int = 1,
    start: float = 0.0,
) -> list[Point]:
    chance = Random(seed)
    every = 3 if seconds < 1200 else 15
    return [
        Point(start + at, level + a_minute * at / 60 + chance.gauss(0, noise))
        for at in range(0, int(seconds) + 1, every)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_a_leak_of_a_megabyte_a_minute_is_found_in_five_minutes_of_noisy_samples(seed: int) -> None:
    assert verdict(sampled(300, a_minute=1.0, seed=seed)) is Verdict.GROWS


@pytest.mark.parametrize("seed", range(8))
def test_noise_alone_is_no_growth(seed: int) -> None:
    assert verdict(sampled(300, noise=3.0, seed=seed)) is Verdict.FLAT
    assert verdict(sampled(3600, noise=3.0, seed=seed), window=AN_HOUR) is Verdict.FLAT


def test_an_hour_tells_a_leak_that_five_minutes_cannot() -> None:
    assert verdict(sampled(300, a_minute=0.2, noise=1.0)) is Verdict.FLAT
    assert verdict(sampled(3600, a_minute=0.2, noise=1.0), window=AN_HOUR) is Verdict.GROWS


def test_a_step_from_a_restart_is_no_growth() -> None:
    before = [Point(point.at, point.value, life=11) for point in sampled(600, level=80)]
    after = [Point(point.at, point.value, life=12) for point in sampled(600, level=130, start=603)]
    window = Window(0.0, 1203.0, warm_up=75.0)
    assert verdict(before + after, window=window) is Verdict.FLAT
    # without the lives the same samples are a slope of over two megabytes a minute
    assert verdict([Point(point.at, point.value) for point in before + after], window=window) is Verdict.GROWS


def test_a_leak_is_found_through_restarts_that_give_the_memory_back() -> None:
    lives = [
        Point(point.at, point.value, life=number)
        for number in range(4)
        for point in sampled(300, a_minute=1.0, seed=number, start=303.0 * number)
    ]
    assert verdict(lives, window=Window(0.0, 1212.0, warm_up=75.0)) is Verdict.GROWS


def test_what_is_sampled_in_the_warm_up_of_the_run_or_of_a_life_does_not_count() -> None:
    warming = [Point(float(at), min(at, 74) * 1.0) for at in range(0, 301, 3)]
    assert verdict(warming) is Verdict.FLAT
    again = [Point(float(at + 400), min(at, 74) * 1.0, life=2) for at in range(0, 301, 3)]
    assert verdict(warming + again, window=Window(0.0, 700.0, warm_up=75.0)) is Verdict.FLAT


def test_samples_in_a_fault_do_not_count() -> None:
    slow = [Point(float(at), 30.0 + at % 2 + 40 * max(0, at - 170)) for at in range(0, 301, 3)]
    assert verdict(slow, "latency p99") is Verdict.GROWS
    assert verdict(slow, "latency p99", Window(0.0, 300.0, 75.0, without=[(170.0, 300.0)])) is Verdict.FLAT


def test_time_in_which_others_had_the_machine_counts_for_what_does_not_follow_how_busy_it_is() -> None:
    rising = [Point(float(at), 30.0 + at % 2 + 2 * max(0, at - 170)) for at in range(0, 301, 3)]
    shared = Window(0.0, 300.0, 75.0, shared=[(170.0, 300.0)])
    assert verdict(rising, "descriptors") is Verdict.GROWS
    assert verdict(rising, "descriptors", shared) is Verdict.FLAT
    assert verdict(rising, "memory", shared) is Verdict.GROWS


def test_an_hour_on_a_machine_that_others_had_is_no_verdict_on_what_follows_how_busy_it_is() -> None:
    climbing = [Point(float(at), 200.0 + at / 30) for at in range(0, 3601, 5)]
    mostly = [(at + 30.0, at + 900.0) for at in range(300, 3600, 900)]
    shared = Window(0.0, 3600.0, 300.0, shared=mostly)
    assert verdict(climbing, "descriptors", AN_HOUR) is Verdict.GROWS
    assert verdict(climbing, "descriptors", shared) is Verdict.TOO_LITTLE


def test_missing_samples_change_nothing_and_too_few_are_no_verdict() -> None:
    chance = Random(4)
    holes = [point for point in sampled(300, a_minute=1.0) if chance.random() < 0.5]
    assert verdict(holes) is Verdict.GROWS
    assert verdict([point for point in sampled(300) if not 100 < point.at < 200]) is Verdict.FLAT
    assert verdict([point for point in sampled(300) if point.at < 100]) is Verdict.TOO_LITTLE
    assert verdict([Point(200.0, 1.0)]) is Verdict.TOO_LITTLE


def test_a_bound_that_is_a_share_follows_the_level() -> None:
    for level in (0.02, 100.0):
        tripled = [Point(point.at, level * 3 ** (point.at / 225)) for point in sampled(300)]
        assert verdict(tripled, "latency p50") is Verdict.GROWS
        half_more = [Point(point.at, level * 1.5 ** (point.at / 225)) for point in sampled(300)]
        assert verdict(half_more, "latency p50") is Verdict.FLAT


def test_the_bounds_of_both_forms_are_those_that_the_table_states() -> None:
    bounds = read_bounds()
    assert bounds["memory"].over(AN_HOUR.judged_seconds) == pytest.approx(6 * 55 / 60)
    assert bounds["memory"].over(225) == 3
    assert bounds["memory"].over(225) / (225 / 60) == pytest.approx(0.8)
    assert bounds["descriptors"].over(225) == 4
    assert bounds["latency p50"].over(225) == 1
    assert bounds["latency p50"].over(3300) == pytest.approx(0.28, abs=0.01)
    for bound in bounds.values():
        assert bound.over(3300) / 3300 < bound.over(225) / 225


@pytest.mark.parametrize("seed", range(4))
def test_the_slope_of_one_life_is_that_of_scipy(seed: int) -> None:
    chance = Random(seed)
    at = sorted(chance.uniform(0, 300) for _ in range(60))
    value = [5 + 0.02 * each + chance.gauss(0, 2) for each in at]
    found, known = slope([list(zip(at, value, strict=True))]), theilslopes(value, at, 0.95)
    assert found is not None
    assert (found.median, found.low, found.high) == pytest.approx((known.slope, known.low_slope, known.high_slope))


def test_the_interval_holds_the_truth_in_most_samples_also_over_several_lives() -> None:
    held = 0
    for seed in range(100):
        chance = Random(seed)
        lives = [[(t, 50.0 * n + 0.1 * t + chance.gauss(0, 3)) for t in range(0, 60, 3)] for n in range(3)]
        found = slope(lives)
        assert found is not None
        held += found.low <= 0.1 <= found.high
    assert 0.9 <= held / 100 <= 0.99


def test_an_interval_is_never_without_its_median() -> None:
    for points in ([(float(at), 7.0) for at in range(20)], [(float(at), float(at % 2)) for at in range(20)]):
        found = slope([points])
        assert found is not None
        assert not math.isnan(found.median)
        assert found.low <= found.median <= found.high
