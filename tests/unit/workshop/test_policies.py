"""What labs hand over broken is a policy that the order service takes, and differs where it is meant to."""

from pathlib import Path

import pytest

from shared.resilience.config import ResilienceConfig, parse
from workshop import policies
from workshop.labs import bulkhead, deadlines, game_day, retries, timeouts
from workshop.platform import Trouble, growth


def read(text: str) -> ResilienceConfig:
    return parse(text, Path("resilience.yaml"))


class Written:
    """A platform that only takes a policy."""

    def __init__(self) -> None:
        self.text = ""

    def use_policy(self, text: str) -> None:
        self.text = text


@pytest.mark.parametrize("module", [timeouts, retries, bulkhead, game_day], ids=lambda module: module.__name__)
def test_what_is_handed_over_broken_is_valid_and_is_not_the_trees(module: object) -> None:
    written = Written()
    module.LAB.begin(written)  # type: ignore[attr-defined]
    assert read(written.text).instances != read(policies.trees()).instances


def test_each_break_is_where_its_lab_says() -> None:
    written = Written()
    timeouts.LAB.begin(written)
    assert read(written.text).instances["payment.process"].timeout is None
    retries.LAB.begin(written)
    broken = read(written.text)
    assert broken.instances["payment.process"].circuit_breaker is None
    assert broken.budgets["payment"].max_tokens == 1000
    bulkhead.LAB.begin(written)
    assert read(written.text).instances["payment.process"].bulkhead.max_concurrent_calls == 1
    game_day.LAB.begin(written)
    assert read(written.text).instances["payment.process"].circuit_breaker.minimum_number_of_calls == 1000
    deadlines.LAB.begin(written)
    assert written.text == policies.trees()


def test_a_tree_that_was_edited_where_a_lab_changes_it_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "trees", lambda: "instances: {}\n")
    with pytest.raises(Trouble, match="git checkout"):
        policies.changed((policies.CHARGE, ""))


def test_a_counter_of_a_restarted_process_begins_at_nought_again() -> None:
    before = {"order-1@10.000|orders_total|,status=201,": 40.0, "order-1@10.000|orders_total|,status=402,": 1.0}
    now = {
        "order-1@99.000|orders_total|,status=201,": 3.0,
        "order-2@10.000|orders_total|,status=201,": 2.0,
        "order-1@10.000|orders_total|,status=402,": 5.0,
        "order-1@10.000|orders_total_created|,status=201,": 1e9,
    }
    assert growth(before, now, "orders_total", {"status": "201"}) == 5.0
    assert growth(before, now, "orders_total", {}) == 9.0
