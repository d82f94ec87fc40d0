"""The committed dashboards: in step with the code, whole, consistent with alerts, documentation and data sources."""

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.grafana.generate import DASHBOARDS, rendered
from infra.prometheus.generate import RULES
from tests.fixtures.dashboards import panels, read_all

ROOT = Path(__file__).parents[3]
PROVISIONING = ROOT / "infra" / "grafana" / "provisioning"
ALL = read_all()
EVERY_PANEL = [(uid, panel) for uid, dashboard in ALL.items() for panel in panels(dashboard)]
EXPRESSIONS = {target["expr"] for _uid, panel in EVERY_PANEL for target in panel["targets"]} | {
    annotation["expr"]
    for dashboard in ALL.values()
    for annotation in dashboard["annotations"].get("list", [])
    if "expr" in annotation
}
_WORDS = frozenset({"by", "on", "or", "and", "bool", "group"})


def alerts() -> dict[str, str]:
    """The dashboard that each alert names."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in RULES.glob("*.yaml")]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule["annotations"]["dashboard"] for rule in rules if "alert" in rule}


def provisioned() -> dict[str, dict[str, Any]]:
    """The data sources, by uid."""
    text = (PROVISIONING / "datasources" / "holdfast.yaml").read_text(encoding="utf-8")
    return {source["uid"]: source for source in yaml.safe_load(text)["datasources"]}


def metrics(expr: str) -> set[str]:
    """The names of the metrics in an expression."""
    bare = re.sub(r'"[^"]*"', "", expr)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(?:by|on) \([^)]*\)", "", bare)
    names = set(re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", bare)) - _WORDS
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in names}


def test_the_committed_dashboards_are_what_the_code_says() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.glob("*")}
    assert committed == rendered(), "run: make dashboards"


def test_the_pages_are_those_that_were_asked_for_each_under_its_own_uid_and_title() -> None:
    assert set(ALL) == {"overview", "orders", "resilience", "slo", "chaos", "prediction", "service"}
    assert {uid: dashboard["uid"] for uid, dashboard in ALL.items()} == {uid: uid for uid in ALL}
    assert len({dashboard["title"] for dashboard in ALL.values()}) == len(ALL)


def test_every_panel_has_a_title_a_description_a_unit_and_queries() -> None:
    for uid, panel in EVERY_PANEL:
        assert panel["title"], uid
        assert len(panel["description"]) > 10, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters), panel["title"]


@pytest.mark.parametrize("uid", ALL)
def test_no_panel_overlaps_another_or_leaves_the_grid(uid: str) -> None:
    boxes = {panel["id"]: panel["gridPos"] for panel in ALL[uid]["panels"]}
    assert len(boxes) == len(ALL[uid]["panels"])
    assert all(box["x"] + box["w"] <= 24 and box["w"] > 0 and box["h"] > 0 for box in boxes.values())
    for one, other in combinations(boxes.values(), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@pytest.mark.parametrize(("alert", "link"), alerts().items())
def test_an_alerts_dashboard_exists_and_has_a_panel_that_leads_to_its_runbook(alert: str, link: str) -> None:
    match = re.fullmatch(r"/d/([a-z]+)(?:\?var-(\w+)=.*)?", link)
    assert match is not None, link
    dashboard = ALL[match[1]]
    if match[2]:
        assert match[2] in [variable["name"] for variable in dashboard["templating"]["list"]]
    links = [each["url"] for panel in panels(dashboard) for each in panel.get("links", [])]
    assert f"docs/runbooks/{alert}.md" in links


def test_every_link_to_a_runbook_leads_somewhere() -> None:
    links = {each["url"] for _uid, panel in EVERY_PANEL for each in panel.get("links", [])}
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_panels_ask_the_data_source_that_is_provisioned_and_exemplars_lead_to_jaeger() -> None:
    asked = {panel["datasource"]["uid"] for _uid, panel in EVERY_PANEL}
    asked |= {target["datasource"]["uid"] for _uid, panel in EVERY_PANEL for target in panel["targets"]}
    assert asked == {"prometheus"}
    sources = provisioned()
    (destination,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert sources[destination["datasourceUid"]]["type"] == "jaeger"
    assert sources["jaeger"]["jsonData"]["tracesToMetrics"]["datasourceUid"] in sources


def test_only_queries_of_buckets_ask_for_exemplars_and_every_page_of_requests_has_some() -> None:
    marked = [
        (uid, target["expr"]) for uid, panel in EVERY_PANEL for target in panel["targets"] if target.get("exemplar")
    ]
    assert all("http_request_duration_seconds_bucket" in expr for _uid, expr in marked)
    assert {uid for uid, _expr in marked} == {"overview", "orders", "chaos", "service"}


def test_every_metric_that_is_asked_for_is_documented() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_:0-9]+\*?)", text)) | {"up", "ALERTS"}
    families = tuple(name.rstrip("*") for name in named if name.endswith("*"))
    asked = set().union(*(metrics(expr) for expr in EXPRESSIONS))
    assert len(asked) > 50
    assert sorted(name for name in asked if name not in named and not name.startswith(families)) == []


def test_grafana_finds_the_files_where_they_are_mounted() -> None:
    text = (PROVISIONING / "dashboards" / "holdfast.yaml").read_text(encoding="utf-8")
    (provider,) = yaml.safe_load(text)["providers"]
    assert (provider["type"], provider["options"]["path"]) == ("file", "/etc/grafana/dashboards")
    assert not provider["allowUiUpdates"]
