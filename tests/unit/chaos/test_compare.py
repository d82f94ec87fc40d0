"""What a pattern is worth: the ladder, what is measured of a rung, and whether a number moved."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from chaos import definition
from chaos.compare import ladder, page, table
from chaos.compare.judged import judge
from chaos.compare.ladder import Ladder, Move
from chaos.compare.measured import Measured, measure
from chaos.compare.switches import Switches, restore, wanted
from chaos.definition import BadExperiment
from chaos.recording import Order
from chaos.targets.target import Replica, TargetError
from tests.unit.chaos.runs import FAULT, LIFT, counter, recording

PLAIN = Measured(
    orders=100, success=0.5, goodput=3.0, p50=0.1, p99=3.0, sent=1.0, reached=1.0, in_flight=20, recovered=4.0,
    lost=0, twice=0,
)  # fmt: skip


def small(**rung: Any) -> Ladder:
    second = {"name": "two", "active": ["a"], "about": "A.", "shows": {"default": {"number": "p99", "falls": 0.3}}}
    return Ladder.model_validate(
        {
            "patterns": {"a": {"layers": {"order.checkout": ["bulkhead"]}}, "b": {"budgets": ["payment"]}},
            "breakers": ["payment"],
            "rungs": [
                {"name": "one", "active": [], "about": "None.", "shows": {"default": "the ground"}},
                second | rung,
            ],
        }
    )


def judged(after: Measured, **rung: Any) -> Any:
    return judge(small(**rung).rungs, {"one": PLAIN, "two": after}, "payment-down", {})[1]


def test_the_ladder_adds_one_pattern_a_rung_from_nothing_to_all_of_the_application() -> None:
    rungs = [rung for rung in ladder.load().rungs if rung.against is None]
    assert [len(rung.active) for rung in rungs] == list(range(7))
    for lower, upper in itertools.pairwise(rungs):
        assert set(lower.active) < set(upper.active)


def test_every_scenario_that_a_rung_names_exists() -> None:
    for rung in ladder.load().rungs:
        assert {*rung.shows, *rung.keeps} - {"default"} <= set(definition.names())


def test_every_pattern_is_asked_to_move_a_number_under_a_slow_or_a_missing_payment_service() -> None:
    asked = set()
    for rung in ladder.load().rungs:
        if any(isinstance(rung.move(scenario), Move) for scenario in ("payment-latency", "payment-down")):
            asked |= set(rung.active)
    assert asked == set(ladder.load().patterns)


def test_every_switch_of_the_ladder_is_a_layer_of_the_order_service() -> None:
    from shared.resilience import Registry

    registry = Registry.from_file(Path("services/order/resilience.yaml"))
    for pattern in ladder.load().patterns.values():
        for pipeline, layers in pattern.layers.items():
            assert set(layers) <= set(registry.pipeline(pipeline).layers)
        assert set(pattern.budgets) <= set(registry.budgets)
    assert set(ladder.load().breakers) <= set(registry.breakers)


@pytest.mark.parametrize(
    ("rung", "complaint"),
    [
        ({"active": ["c"]}, "no pattern is called c"),
        ({"against": "three"}, "no rung before it"),
        ({"shows": {"payment-down": "no"}}, "default is missing"),
        ({"name": "one"}, "the same name"),
        ({"shows": {"default": {"number": "p99", "falls": 0.3, "rises": 2}}}, "one of falls"),
        ({"shows": {"default": {"number": "beauty", "falls": 0.3}}}, "number"),
    ],
)
def test_a_ladder_that_makes_no_sense_is_refused(rung: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        small(**rung)


def test_rungs_can_be_chosen_but_not_without_the_one_that_they_are_held_against() -> None:
    whole = ladder.load()
    assert [rung.name for rung in whole.chosen(["+ fallback", "nothing"]).rungs] == ["nothing", "+ fallback"]
    with pytest.raises(BadExperiment, match="held against"):
        whole.chosen(["both retry"])
    with pytest.raises(BadExperiment, match="No rung is called magic"):
        whole.chosen(["magic"])


def test_a_rung_is_measured_by_the_orders_and_counters_of_the_fault_alone() -> None:
    made = recording(during=202)
    for number in range(20):
        made.orders[f"k{number + 100}"].status = 503
    for number in range(10):
        made.orders[f"k{number + 150}"].seconds = 4.0
    for number in range(5):
        made.orders[f"k{number + 170}"].status = 402
    counter(made, "http_requests_total", (95, 10.0), (99, 40.0), (110, 140.0), (121, 240.0), handler="/process")
    counter(made, "http_requests_total", (99, 10.0), (119, 999.0), handler="/refund")
    counter(
        made, "http_client_request_duration_seconds_count", (99, 0.0), (119, 390.0), instance="order-1", to="payment"
    )
    counter(made, "requests_in_flight", (105.2, 7.0), (130.0, 90.0))
    counter(made, "requests_in_flight", (105.8, 4.0), instance="payment-v2-1")
    seen = measure(made, (FAULT, LIFT))
    assert (seen.orders, seen.statuses) == (195, {202: 175, 402: 5, 503: 20})
    assert seen.success == pytest.approx(175 / 195)
    assert seen.goodput == pytest.approx(165 / 20)
    assert (seen.p50, seen.p99) == (0.05, 4.0)
    assert (seen.reached, seen.sent) == (pytest.approx(1.0), pytest.approx(1.95))
    assert seen.in_flight == 7.0  # of payment alone, and not after the fault


def test_an_order_that_hangs_has_waited_until_the_end_of_the_fault() -> None:
    made = recording()
    made.orders["hangs"] = Order("hangs", LIFT - 9)
    assert measure(made, (FAULT, LIFT)).p99 == pytest.approx(0.05)
    for number in range(4):
        made.orders[f"hangs too {number}"] = Order("hangs", LIFT - 9)
    assert measure(made, (FAULT, LIFT)).p99 == pytest.approx(9)


@pytest.mark.parametrize(
    ("move", "after", "moved"),
    [
        ({"number": "p99", "falls": 0.3}, {"p99": 2.1}, True),
        ({"number": "p99", "falls": 0.3}, {"p99": 2.2}, False),
        ({"number": "sent", "rises": 1.5}, {"sent": 1.5}, True),
        ({"number": "sent", "rises": 1.5}, {"sent": 1.4}, False),
        ({"number": "success", "gains": 0.3}, {"success": 0.8}, True),
        ({"number": "success", "gains": 0.3}, {"success": 0.79}, False),
        ({"number": "recovered", "falls": 0.3}, {"recovered": None}, False),
        ("it cannot", {"p99": 0.0}, None),
    ],
)
def test_a_number_has_moved_when_it_moved_far_enough(move: Any, after: dict[str, Any], moved: bool | None) -> None:
    row = judged(replace(PLAIN, **after), shows={"default": "no", "payment-down": move})
    assert row.moved is moved


def test_what_was_nothing_cannot_fall_or_rise() -> None:
    assert not Move(number="sent", rises=2).made(0.0, 0.0)
    assert not Move(number="sent", falls=0.5).made(0.0, 0.0)


def test_a_bound_that_is_not_kept_is_a_no_whatever_has_moved() -> None:
    keeps = {"default": {"success": {"at_least": 0.95}}}
    row = judged(replace(PLAIN, p99=1.0), keeps=keeps)
    assert (row.moved, row.good) == (False, False)
    assert "p99: 3000 ms -> 1000 ms against 'one', to fall by 30%: yes" in row.says
    assert "keeps success at least 95.0%: 50.0%, no" in row.says
    assert judged(replace(PLAIN, p99=1.0, success=0.96), keeps=keeps).moved


@pytest.mark.parametrize("broken", [{"lost": 1}, {"twice": 2}])
def test_a_rung_that_loses_an_order_or_charges_twice_is_not_good(broken: dict[str, int]) -> None:
    assert judged(replace(PLAIN, p99=1.0)).good
    assert not judged(replace(PLAIN, p99=1.0, **broken)).good


def test_a_rung_that_could_not_be_tried_says_why_and_stands_in_every_table(tmp_path: Path) -> None:
    rows = judge(small().rungs, {"one": PLAIN}, "payment-down", {"two": "There is no <mesh> here."})
    assert (rows[1].measured, rows[1].moved, rows[1].good) == (None, None, True)
    page.write(tmp_path, "By hand", {"scenario": "payment-down", "seed": 1}, rows)
    written = json.loads((tmp_path / "compare.json").read_text())
    assert [row["rung"] for row in written["rows"]] == ["one", "two"]
    assert written["rows"][0]["measured"]["p99"] == 3.0
    html = (tmp_path / "compare.html").read_text()
    assert "There is no &lt;mesh&gt; here." in html
    assert html.count("<svg") == 5
    lines = [line for line in (tmp_path / "compare.md").read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    console = Console(width=160, record=True, file=(tmp_path / "terminal").open("w"))
    table.show(rows, console)
    shown = console.export_text()
    assert "50.0%" in shown
    assert "There is no <mesh> here." in shown


class Platform:
    """Two order replicas with a switch board each; `asked` is what changed them."""

    def __init__(self, runs: Path) -> None:
        self.runs, self.mesh, self.gone = runs, False, ""
        self.state = {
            name: {"order.checkout": {"bulkhead": name == "order-1", "deadline": True}} for name in self.names
        }
        self.enforced = dict.fromkeys(self.names, True)
        self.resets: list[str] = []

    names = ("order-1", "order-2")

    def replicas(self, _service: str = "") -> list[Replica]:
        return [Replica(name, "order", f"http://{name}") for name in self.names]

    def ask(self, replica: Replica, method: str, path: str, body: Any = None) -> Any:
        if replica.name == self.gone:
            raise TargetError(f"{replica.name} is gone")
        path = path.removeprefix("/admin/resilience/").partition("?")[0]
        if method == "POST":
            self.resets.append(f"{replica.name} {path}")
        elif path.startswith("budgets"):
            self.enforced[replica.name] = body["enforced"] if body else self.enforced[replica.name]
        elif body:
            self.state[replica.name][path].update(body["layers"])
        return {"layers": dict(self.state[replica.name].get(path, {})), "enforced": self.enforced[replica.name]}

    def mesh_repeats(self, on: bool) -> None:
        self.mesh = on


def test_what_a_rung_does_not_name_is_off() -> None:
    whole = small()
    assert wanted(whole, whole.rungs[0]) == ({"order.checkout": {"bulkhead": False}}, {"payment": False}, False)
    assert wanted(whole, whole.rungs[1]) == ({"order.checkout": {"bulkhead": True}}, {"payment": False}, False)


def test_after_a_comparison_every_switch_is_as_it_was_before_not_simply_on(tmp_path: Path) -> None:
    platform: Any = Platform(tmp_path)
    switches, before = Switches(platform, small()), json.dumps(platform.state)
    switches.remember()
    switches.set(small().rungs[1])
    assert platform.state["order-2"]["order.checkout"]["bulkhead"]
    assert platform.resets[:2] == ["order-1 budgets/payment/refill", "order-1 breakers/payment/reset"]
    assert not any(platform.enforced.values())
    assert "order-1, order-2" in restore(platform)
    assert json.dumps(platform.state) == before
    assert all(platform.enforced.values())
    assert restore(platform) == ""


def test_what_could_not_be_switched_back_is_remembered_for_the_next_try(tmp_path: Path) -> None:
    platform: Any = Platform(tmp_path)
    Switches(platform, small()).remember()
    Switches(platform, small()).set(small().rungs[0])
    platform.gone = "order-1"
    with pytest.raises(TargetError, match="order-1 is gone"):
        restore(platform)
    assert platform.enforced == {"order-1": False, "order-2": True}
    platform.gone = ""
    Switches(platform, small()).remember()  # the next comparison begins by undoing the last one
    assert platform.enforced == {"order-1": True, "order-2": True}
