"""The plan of faults, what is read of a process, and what is said in the end."""

import json
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from tests.soak import report
from tests.soak.customers import Customers, Ended
from tests.soak.judge import Bound, Point, judge, read_bounds
from tests.soak.mild import FAULTS, plan
from tests.soak.run import Soak, Wanted
from tests.soak.sampling import gauges, stored

METRICS = """\
# TYPE asyncio_tasks gauge
asyncio_tasks 31.0
db_pool_connections_active{pool="write",service="order"} 1.0
db_pool_connections_active{pool="read",service="order"} 2.0
db_pool_connections_max{pool="read",service="order"} 4.0
outbox_messages 7.0
orders_unfinished{state="CHARGING"} 3.0
orders_unfinished_seconds{state="CHARGING"} 9.0
"""


@pytest.mark.parametrize("seconds", [180.0, 300.0, 3600.0])
def test_the_same_seed_plans_the_same_faults_and_leaves_the_end_calm(seconds: float) -> None:
    planned = plan(seconds, Random(7))
    assert planned == plan(seconds, Random(7))
    assert planned != plan(seconds, Random(8))
    assert all(0 < each.at < 0.8 * seconds for each in planned)
    every = min(240.0, seconds / 5)
    assert all(0.75 * every <= later.at - former.at <= 1.25 * every for former, later in pairwise(planned))
    assert len(planned) >= 3


def test_an_hour_has_every_kind_of_fault_before_one_comes_twice() -> None:
    names = [each.fault.name for each in plan(3 * 3600.0, Random(1))][: len(FAULTS)]
    assert sorted(names) == sorted(fault.name for fault in FAULTS)


def test_gauges_are_summed_over_their_labels_and_nothing_else_is_taken_for_them() -> None:
    assert gauges(METRICS) == {"tasks": 31, "pool in use": 3, "pool size": 4, "outbox": 7, "unfinished": 3}
    assert gauges("") == {}


def test_what_is_stored_is_told_apart_by_whether_it_may_grow(tmp_path: Path) -> None:
    files = {"order.sqlite": 3, "order.sqlite-wal": 2, "control_room.sqlite": 5, "nats/jetstream/1.blk": 7}
    for name, kilobytes in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * kilobytes * 1000)
    expected = {"databases": 0.003, "write-ahead log": 0.002, "streams": 0.007, "traces": 0.005}
    assert stored(tmp_path) == pytest.approx(expected)


def test_a_line_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    customers, events = Customers(tmp_path), tmp_path / "orders.jsonl"
    whole = json.dumps({"at": 12.0, "event": "ended", "seconds": 2.0, "status": 201}) + "\n"
    events.write_text(json.dumps({"at": 9.0, "event": "not_sent"}) + "\n" + whole[:20])
    customers.read()
    assert (customers.ended, customers.not_sent) == ([], 1)
    with events.open("a") as file:
        file.write(whole[20:])
    customers.read()
    customers.read()
    assert customers.ended == [Ended(10.0, 2.0, 201)]


def soaked(**leaks: float) -> Soak:
    """Five minutes of two processes; `memory=2.0` grows by two a minute."""
    soak = Soak(Wanted(5.0, 1, None), began=1_000.0, ended=1_300.0, capacity=50.0, rate=35.0, audit_clean=True)
    soak.taken, soak.statuses, soak.log_limit, soak.logs = 10_000, {201: 10_000}, 15.0, {"envoy": 15.0}
    soak.faults = [(1_060.0, 1_063.0, "payment-2 killed")]
    chance = Random(3)
    for second in range(0, 300, 3):
        at = 1_000.0 + second
        for metric in ("memory", "descriptors"):
            value = 60 + leaks.get(metric, 0.0) * second / 60 + chance.gauss(0, 0.2)
            soak.series.add(metric, "order-1", Point(at, value, 11))
            soak.series.add(metric, "envoy", Point(at, 40.0, 12))
        soak.series.add("databases", "stack", Point(at, second * 0.06))
    return soak


def written(soak: Soak, directory: Path) -> tuple[list[str], dict[str, object]]:
    bounds = read_bounds()
    findings = judge(soak.series, soak.window, bounds)
    why = report.complaints(soak, findings)
    report.write(soak, findings, why, list[Bound](bounds.values()), directory)
    assert "nan" not in report.markdown(soak, findings, []).split("## What grows")[0]
    page = (directory / "report.html").read_text()
    assert page.count("<svg") >= 2
    return why, json.loads((directory / "report.json").read_text())


def test_a_soak_in_which_nothing_grows_passes_and_says_what_grows_by_nature(tmp_path: Path) -> None:
    why, told = written(soaked(), tmp_path)
    assert (why, told["verdict"], told["reasons"]) == ([], "PASS", [])
    assert "1.78 KB an order" in (tmp_path / "report.md").read_text()


def test_a_failure_names_process_and_metric(tmp_path: Path) -> None:
    soak = soaked(memory=2.0)
    why, told = written(soak, tmp_path)
    rows = report.worst(judge(soak.series, soak.window, read_bounds()))
    assert [row.metric for row in rows] == ["memory", "descriptors"]
    assert rows[0].process == "order-1"
    assert len(why) == 1
    assert why[0].startswith("memory of order-1 grows: +7.")
    assert told["verdict"] == "FAIL"
    assert "Soak: FAIL" in (tmp_path / "report.md").read_text()


def test_a_complaint_of_the_auditor_or_a_log_without_end_fails_though_nothing_grows(tmp_path: Path) -> None:
    soak = soaked()
    soak.audit_clean, soak.logs = False, {"envoy": 21.0}
    why, _ = written(soak, tmp_path)
    assert [line.partition(":")[0] for line in why] == ["logs, the program that has most", "the auditor finds nothing"]


def test_a_soak_that_saw_nothing_has_not_passed(tmp_path: Path) -> None:
    soak = soaked()
    soak.series.points = {key: points[:3] for key, points in soak.series.points.items()}
    why, _ = written(soak, tmp_path)
    assert "nothing could be judged" in why
