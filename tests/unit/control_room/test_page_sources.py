"""What the page makes of canned answers of Prometheus, replicas, the trace store and the dashboards' files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.control_room.page import drills
from services.control_room.page.commands import Auditor, Busy, Runner
from services.control_room.page.exporter import ExperimentCollector
from services.control_room.page.sources.dashboards import Dashboards, filled_in, legend, table
from services.control_room.page.sources.experiments import Experiments
from services.control_room.page.sources.foresight import Predictor
from services.control_room.page.sources.numbers import Numbers, expressions, parted
from services.control_room.page.sources.replicas import Replicas, merged
from services.control_room.page.sources.traces import waterfall
from services.control_room.page.web import Away, Web
from shared.chassis.faults.requests import KINDS
from tests.fixtures.dashboards import DASHBOARDS
from tests.fixtures.promtool import promtool
from tests.fixtures.waiting import until_true

ROOT = Path(__file__).parents[3]


def series(value: str, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [0, value]}


class CannedWeb(Web):
    """Answers without a network."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__("token")
        self.status, self.body = status, body
        self.asked: list[dict[str, str]] = []

    async def ask(self, method: str, url: str, **more: Any) -> tuple[int, Any]:
        self.asked.append(more.get("data") or {})
        if isinstance(self.body, Exception):
            raise self.body
        return self.status, self.body


def test_an_answer_of_prometheus_becomes_edges_and_rows_and_nan_is_nothing() -> None:
    found = parted(
        {
            "data": {
                "result": [
                    series("8", part="rate", service="order", to="payment"),
                    series("0.25", part="errors", service="order", to="payment"),
                    series("NaN", part="p99", service="order", to="payment"),
                    series("3", part="under_way", state="CHARGING"),
                ]
            }
        }
    )
    assert found["edges"] == [{"from": "order", "to": "payment", "rate": 8.0, "errors": 0.25}]
    assert found["under_way"] == [{"labels": {"state": "CHARGING"}, "value": 3.0}]


async def test_a_prometheus_that_finds_fault_is_quoted_and_one_that_is_away_is_named() -> None:
    with pytest.raises(Away, match="HTTP 422 parse error"):
        await Numbers(CannedWeb(422, {"error": "parse error"}), "http://p", 5).read()
    with pytest.raises(Away, match="no answer within 2 s"):
        await Numbers(CannedWeb(0, Away("no answer within 2 s")), "http://p", 5).read()
    with pytest.raises(Away, match="no Prometheus is configured"):
        await Numbers(CannedWeb(0, None), "", 5).read()


def test_promtool_accepts_every_expression(tmp_path: Path) -> None:
    rules = [{"record": f"page:{name}", "expr": text} for name, text in expressions("20s").items()]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "page", "rules": rules}]}), encoding="utf-8")
    assert f"{len(rules)} rules found" in promtool("check", "rules", path)


def test_a_layer_that_differs_between_replicas_is_mixed_and_events_are_newest_first() -> None:
    def view(replica: str, retry: bool, *ago: float) -> dict[str, Any]:
        breaker = {"name": "payment", "state": "open", "retry_after": 1.0, "metrics": {"failure_rate": 60.0}}
        events = [{"kind": "Retry", "seconds_ago": each} for each in ago]
        item = {"name": "payment.process", "layers": {"retry": retry, "timeout": True}, "breaker": breaker}
        return {"replica": replica, "items": [{**item, "events": events}]}

    [one] = merged([view("order-1", True, 9, 2), view("order-2", False, 5)])
    assert one["layers"] == {"retry": "mixed", "timeout": True}
    assert set(one["breaker"]) == {"order-1", "order-2"}
    assert [event["seconds_ago"] for event in one["events"]] == [2, 5, 9]


async def test_replicas_come_from_the_file_or_from_whom_prometheus_scrapes(tmp_path: Path) -> None:
    path = tmp_path / "targets.json"
    path.write_text('[{"targets": ["127.0.0.1:1"], "labels": {"instance": "order-1", "service": "order"}}]')
    assert [each.url for each in await Replicas(CannedWeb(0, None), path, "").find()] == ["http://127.0.0.1:1"]
    scraped = [
        {"labels": {"instance": "order-1", "service": "order"}, "scrapeUrl": "http://10.0.0.1:8080/metrics"},
        {"labels": {"instance": "prometheus"}, "scrapeUrl": "http://10.0.0.2:9090/metrics"},
    ]
    web = CannedWeb(200, {"data": {"activeTargets": scraped}})
    assert [each.url for each in await Replicas(web, None, "http://p").find()] == ["http://10.0.0.1:8080"]
    with pytest.raises(Away, match="neither"):
        await Replicas(web, None, "").find()


def test_a_waterfall_is_a_tree_in_order_of_time_with_orphans_at_the_top() -> None:
    def span(name: str, start: int, parent: str = "", **more: Any) -> dict[str, Any]:
        references = [{"refType": "CHILD_OF", "traceID": "t", "spanID": parent}] if parent else []
        base = {"spanID": name, "operationName": name, "startTime": start, "duration": 10, "processID": "p1"}
        return base | {"references": references, "tags": [], "logs": []} | more

    event = {"timestamp": 1_012, "fields": [{"key": "event", "value": "Retry"}, {"key": "attempt", "value": 2}]}
    failed = [{"key": "error", "value": True}]
    spans = [
        span("late", 1_020, "root"),
        span("early", 1_005, "root", logs=[event], tags=failed),
        span("root", 1_000, duration=50),
        span("below", 1_007, "early"),
        span("orphan", 1_030, "gone"),
    ]
    trace = {"traceID": "t", "spans": spans, "processes": {"p1": {"serviceName": "order"}}}
    found = waterfall(trace)
    assert [(row["name"], row["depth"]) for row in found["rows"]] == [
        ("root", 0), ("early", 1), ("below", 2), ("late", 1), ("orphan", 0),
    ]  # fmt: skip
    early = found["rows"][1]
    assert (early["offset"], early["error"], early["events"]) == (
        5,
        True,
        [{"offset": 12, "event": "Retry", "attempt": 2}],
    )
    assert (found["total"], found["errors"]) == (50, 1)


def test_legends_and_variables_are_filled_in_as_grafana_does() -> None:
    assert filled_in('rate(x{a=~"$service"}[$__rate_interval]) $1', {"service": "o.*", "__rate_interval": "20s"}) == (
        'rate(x{a=~"o.*"}[20s]) $1'
    )
    assert legend("{{name}} at {{ instance }}", {"name": "payment", "instance": "order-1"}) == "payment at order-1"
    assert legend("__auto", {"__name__": "up", "job": "services"}) == "services"


def test_a_table_joins_its_queries_by_labels() -> None:
    panel = {
        "targets": [{"refId": "A"}, {"refId": "B"}],
        "fieldConfig": {"overrides": []},
        "transformations": [
            {"id": "organize", "options": {"renameByName": {"to": "callee", "Value #A": "rate", "Value #B": "errors"}}}
        ],
    }
    found = table(panel, [[series("8", to="payment"), series("1", to="queue")], [series("0.5", to="payment")]])
    assert [column["title"] for column in found["columns"]] == ["callee", "rate", "errors"]
    assert found["rows"] == [
        {"to": "payment", "Value #A": 8.0, "Value #B": 0.5},
        {"to": "queue", "Value #A": 1.0},
    ]


async def test_every_query_of_every_dashboard_is_asked_with_nothing_left_to_fill_in() -> None:
    web = CannedWeb(200, {"data": {"result": []}})
    dashboards = Dashboards(web, DASHBOARDS, "http://p", 5.0, now=lambda: 1_000.0)

    async def values(_url: str, *_: Any, **__: Any) -> Any:
        return {"data": ["order"]}

    web.get = values  # type: ignore[method-assign]
    for each in await dashboards.names():
        assert (await dashboards.draw(each["name"], 900, {}))["panels"]
    assert len(web.asked) > 100
    assert [data["query"] for data in web.asked if "$__" in data["query"] or "$service" in data["query"]] == []


async def test_scenarios_and_verdicts_are_read_from_the_runners_files(tmp_path: Path) -> None:
    experiments = Experiments(ROOT / "chaos" / "experiments", tmp_path)
    by_name = {each["name"]: each for each in await experiments.scenarios()}
    assert by_name["payment-down"]["steady"]
    assert by_name["payment-down"]["expected"]
    assert await experiments.read() == {"running": None, "verdicts": []}
    (tmp_path / "running.json").write_text('{"what": "payment-down", "pid": 1}')
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "verdict.json").write_text('{"scenario": "control", "verdict": "PASS", "reason": "all well"}')
    found = await experiments.read()
    assert found["running"]["scenario"] == "payment-down"
    assert [(each["scenario"], each["verdict"]) for each in found["verdicts"]] == [("control", "PASS")]


def test_prometheus_is_told_of_the_experiment_that_runs_until_it_ends_or_its_runner_is_killed(tmp_path: Path) -> None:
    metrics, file = CollectorRegistry(), tmp_path / "running.json"
    metrics.register(ExperimentCollector(tmp_path))

    def active() -> dict[str, float]:
        return {each.labels["scenario"]: each.value for family in metrics.collect() for each in family.samples}

    assert active() == {"none": 0}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as runner:
        file.write_text(json.dumps({"what": "payment-down", "pid": runner.pid}))
        assert active() == {"payment-down": 1}
        runner.kill()
        runner.wait()
        assert active() == {"payment-down": 0}
    file.write_text(json.dumps({"what": "control", "pid": os.getpid()}))
    assert active() == {"payment-down": 0, "control": 1}
    file.write_text("")
    assert active() == {"payment-down": 0, "control": 0}


async def test_the_auditors_verdict_is_what_its_command_writes_and_one_runs_at_a_time(tmp_path: Path) -> None:
    script = tmp_path / "audit.py"
    script.write_text("import sys; open(sys.argv[2], 'w').write('{\"clean\": false, \"invariants\": []}')")
    auditor = Auditor(f"{sys.executable} {script}", now=lambda: 7.0)
    auditor.start()
    with pytest.raises(Busy):
        auditor.start()
    await until_true(lambda: not auditor.running)
    assert (await auditor.read())["last"] == {"clean": False, "invariants": [], "at": 7.0}


async def test_a_runner_that_refuses_is_quoted(tmp_path: Path) -> None:
    script = tmp_path / "chaos.py"
    script.write_text("import sys; sys.exit('another experiment is under way: ' + ' '.join(sys.argv[1:]))")
    runner = Runner(f"{sys.executable} {script}")
    runner.start("payment-down")
    with pytest.raises(Busy):
        runner.start("control")
    await until_true(lambda: not runner.busy)
    assert runner.said == "another experiment is under way: run payment-down"


def test_every_drill_is_a_fault_that_the_services_take() -> None:
    for drill in drills.load().values():
        asked = drill.fault | {"seconds": 30.0, "experiment": f"drill/{drill.name}"}
        assert KINDS[drill.fault["kind"]].model_validate(asked).kind == drill.fault["kind"]
        assert drill.service in ("order", "payment", "inventory")


async def test_the_model_is_told_by_its_figures_and_by_what_has_drifted_most() -> None:
    estimate = {"value": 0.8, "low": 0.7, "high": 0.9}
    told = {
        "name": "trees", "created": "2026-01-01", "sha256": "ab", "threshold": 0.4, "persistence": [3, 5],
        "features": 147, "calibration_error": None, "drift": {f"f{n}": n / 10 for n in range(9)},
        "metrics": {"calibration_error": 0.02, "event_recall": {"gradual": estimate, "abrupt": None}, "sizes": {}},
    }  # fmt: skip
    found = await Predictor(CannedWeb(200, told), "http://predictor").model()
    assert found["figures"] == {"event recall gradual": 0.8, "calibration error": 0.02}
    assert found["drift"][0] == {"feature": "f8", "index": 0.8}
    assert len(found["drift"]) == 5
