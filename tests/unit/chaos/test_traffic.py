"""What customers see, and when an experiment has to end for their sake."""

import json
from pathlib import Path

import pytest

from chaos.definition import Abort
from chaos.recording import Order, Recording
from chaos.traffic import Figures, Traffic, breach, figures

LIMITS = Abort(success_below=0.8, p99_above_seconds=2.0, at_least_orders=10)


def orders(good: int, bad: int, at: float = 100.0) -> list[Order]:
    statuses = [201] * good + [503] * bad
    return [Order(str(n), at - 0.1, at, status, "", 0.1, 1) for n, status in enumerate(statuses)]


def test_a_window_sees_only_what_ended_in_it() -> None:
    seen = figures([*orders(5, 5, at=90.0), *orders(8, 2, at=100.0)], 101.0, 5.0, late_after=2.0)
    assert (seen.orders, seen.success) == (10, 0.8)


def test_declined_cards_and_sold_out_goods_are_answers() -> None:
    ended = [Order("a", 99, 100, 402), Order("b", 99, 100, 409), Order("c", 99, 100, 0)]
    assert figures(ended, 100.0, 5.0, late_after=2.0).success == pytest.approx(2 / 3)


def test_an_order_that_hangs_is_late_before_it_ends() -> None:
    seen = figures([Order("hangs", 90.0)], 100.0, 5.0, late_after=2.0)
    assert (seen.orders, seen.success, seen.late) == (1, 0.0, 1)
    assert seen.p99 == pytest.approx(10.0)


def test_no_orders_are_neither_good_nor_bad() -> None:
    assert figures([Order("young", 99.5)], 100.0, 5.0, late_after=2.0) == Figures(0, None, None)


@pytest.mark.parametrize(
    ("seen", "breaks"),
    [
        (Figures(20, 0.79, 0.1), True),
        (Figures(20, 0.80, 0.1), False),
        (Figures(20, 1.0, 2.1), True),
        (Figures(20, 1.0, 2.0), False),
        (Figures(9, 0.0, 9.0), False),
        (Figures(0, None, None), False),
    ],
)
def test_an_experiment_ends_beyond_its_limits_and_not_for_a_handful_of_orders(seen: Figures, breaks: bool) -> None:
    assert bool(breach(seen, LIMITS)) is breaks


def test_a_half_written_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    seen = Recording()
    traffic = Traffic(tmp_path, seen, edge="http://edge", inventory="http://inventory")
    file = tmp_path / "orders.jsonl"
    told = {
        "at": 2.0,
        "event": "ended",
        "key": "a",
        "status": 201,
        "meaning": "confirmed",
        "attempts": 1,
        "seconds": 1.0,
    }
    ended = json.dumps(told)
    file.write_text('{"at": 1.0, "event": "sent", "key": "a"}\n' + ended[:30])
    traffic.read()
    assert seen.orders["a"].ended is None
    file.write_text('{"at": 1.0, "event": "sent", "key": "a"}\n' + ended + "\n")
    traffic.read()
    assert (seen.orders["a"].ended, seen.orders["a"].status) == (2.0, 201)
