"""The experiments as Kubernetes objects: in step with their source, valid, bounded, aimed at pods that there are."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos import definition
from chaos.gate import objectives
from chaos.render import cluster, files
from chaos.render.__main__ import main
from chaos.render.files import ISTIO, LITMUS, MESH, Sources
from chaos.runner import plan
from tests.unit.manifests.building import (
    OVERLAYS,
    ROOT,
    build,
    container,
    named,
    of_kind,
    overlay,
    pod,
    pod_labels,
    services,
    workloads,
)
from tests.unit.manifests.test_validity import crd_validator, problems

Document = dict[str, Any]

SOURCES = Sources()
CHAOS_KINDS = {"NetworkChaos", "PodChaos", "HTTPChaos", "StressChaos", "IOChaos", "DNSChaos", "TimeChaos"}


def documents(folder: Path) -> Iterator[tuple[str, Document]]:
    for path in sorted(folder.rglob("*.yaml")):
        if path.name == "kustomization.yaml":
            continue
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            yield str(path.relative_to(ROOT)), document


def read(path: Path) -> Document:
    document: Document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def experiments() -> dict[str, Document]:
    return {path.stem: read(path) for path in sorted((MESH / "experiments").glob("*.yaml"))}


def workflows() -> dict[str, Document]:
    """Every Workflow's spec: each weekday's, and the drill."""
    found = {path.stem: read(path)["spec"]["workflow"] for path in (MESH / "week").glob("*day.yaml")}
    return found | {"drill": read(MESH / "drill.yaml")["spec"]}


def chaos_specs() -> Iterator[tuple[str, Document]]:
    """Every spec of a fault, by itself or inside a Workflow."""
    for name, document in experiments().items():
        yield name, document["spec"]
    for name, workflow in workflows().items():
        for template in workflow["templates"]:
            if template["templateType"] in CHAOS_KINDS:
                (spec,) = (value for key, value in template.items() if key.endswith("Chaos"))
                yield f"{name}: {template['name']}", spec


def seconds(duration: str) -> float:
    assert duration.endswith("s")
    return float(duration[:-1])


def test_what_is_committed_is_what_the_experiments_say() -> None:
    wanted = files.rendered()
    behind = [path.name for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    assert behind == [], "make chaos-manifests"
    assert files.stale(wanted) == []


def test_writing_takes_away_what_nothing_makes_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, kept = tmp_path / "gone.yaml", tmp_path / "kustomization.yaml"
    left.write_text("{}")
    kept.write_text("{}")
    monkeypatch.setattr(files, "WRITTEN", (tmp_path,))
    monkeypatch.setattr(files, "rendered", lambda: {tmp_path / "new" / "made.yaml": "a: 1\n"})
    assert main() == 0
    assert not left.exists()
    assert kept.exists()
    assert (tmp_path / "new" / "made.yaml").read_text() == "a: 1\n"


@pytest.mark.parametrize("folder", [MESH, LITMUS], ids=lambda folder: folder.name)
def test_every_object_is_one_that_its_controller_takes_without_a_warning(folder: Path) -> None:
    # a name that is generated has no name yet: the validator of core kinds is not asked for these
    found = list(documents(folder))
    assert len(found) > 8
    assert problems(found) == []


def test_the_validator_refuses_what_the_tutorial_wrote() -> None:
    validator = crd_validator()
    catalog = validator.Catalog()
    latency = experiments()["payment-latency"]
    broken = {**latency, "spec": {**latency["spec"], "scheduler": {"cron": "@every 1h"}}}
    assert any("scheduler" in str(path) for level, path, _ in validator.check(broken, catalog) if level == "ERROR")
    argo = read(MESH / "drill.yaml")
    argo["spec"]["templates"][0] = {"name": "drill", "steps": [[{"name": "run", "template": "control"}]]}
    assert any(level == "ERROR" for level, _, _ in validator.check(argo, catalog))


@pytest.mark.parametrize("directory", ["mesh/week", "litmus", "gate"])
def test_kustomize_builds_what_an_overlay_can_take_in(directory: str) -> None:
    built = build(f"../chaos/{directory}")
    assert built
    kinds = {document["kind"] for document in built}
    assert not kinds & (CHAOS_KINDS | {"Workflow", "ChaosEngine"}), "these begin when they are created"


def test_every_experiment_is_rendered_or_stands_in_the_list_of_what_is_not_with_a_reason() -> None:
    page = (MESH / "experiments" / "README.md").read_text(encoding="utf-8")
    here, missing = page.split("## Not here")
    for name in definition.names():
        rendered = name in experiments()
        assert rendered == (f"| [{name}]({name}.yaml) |" in here), name
        assert rendered != bool(re.search(rf"^\| `{name}` \| [^|]+ \| [^|]{{20,}} \|$", missing, re.MULTILINE)), name
    assert {*experiments()} == {*SOURCES.faults}
    assert len(SOURCES.reasons) < 10


def test_each_kind_of_chaos_is_used_and_none_has_the_scheduler_of_old() -> None:
    assert {document["kind"] for document in experiments().values()} == CHAOS_KINDS
    for name, spec in chaos_specs():
        assert "scheduler" not in spec, name
        if spec["mode"] in ("one", "all"):
            assert "value" not in spec, name


def test_a_fault_ends_by_itself_and_not_later_than_its_experiment_says() -> None:
    for name, document in experiments().items():
        limit = SOURCES.of[name].fault_seconds
        if document["spec"].get("action") == "pod-kill":
            assert "duration" not in document["spec"]
        else:
            assert 0 < seconds(document["spec"]["duration"]) <= limit, name
    for day, workflow in workflows().items():
        for template in workflow["templates"]:
            if template["templateType"] in CHAOS_KINDS:
                name = template["name"].removesuffix("-once").removesuffix("-fault")
                assert 0 < seconds(template["deadline"]) <= SOURCES.of[name].fault_seconds, (day, name)


@pytest.mark.parametrize("name", OVERLAYS)
def test_selectors_name_pods_of_the_overlay_and_a_share_of_them_is_at_least_one(name: str) -> None:
    fewest = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["minReplicas"]
        for each in of_kind(overlay(name), "HorizontalPodAutoscaler")
    }
    pods = [
        (pod_labels(each), each["spec"].get("replicas") or fewest.get(each["metadata"]["name"], 1))
        for each in workloads(overlay(name))
    ]
    # a database that is elsewhere, and traces that only the larger overlay has
    elsewhere = {"dev": ["telemetry-down"], "production": ["database-slow", "disk-full"]}[name]
    for what, spec in chaos_specs():
        assert "target" not in spec or spec["target"] in ("Request", "Response") or spec["target"]["mode"] == "all"
        for part in (spec, *([spec["target"]] if isinstance(spec.get("target"), dict) else [])):
            selector = part["selector"]
            assert selector["namespaces"] == [cluster.NAMESPACE] == ["holdfast"], what
            hit = sum(count for labels, count in pods if selector["labelSelectors"].items() <= labels.items())
            if any(each in what for each in elsewhere) and not hit:
                continue
            assert hit > 0, (what, selector)
            if part["mode"] == "fixed-percent":
                assert hit * int(part["value"]) // 100 >= 1, f"{what}: Chaos Mesh rounds down, to nobody"


def test_what_the_renderer_knows_of_the_cluster_is_so() -> None:
    for service in services(overlay("dev")):
        own = container(service)
        assert own["name"] == cluster.CONTAINER
        limits, requests = own["resources"]["limits"]["memory"], own["resources"]["requests"]["memory"]
        assert int(limits.removesuffix("Mi")) - int(requests.removesuffix("Mi")) >= cluster.FREE_MEMORY_MB
        assert own["ports"] == [{"name": "http", "containerPort": cluster.PORT}]
    database = named(overlay("dev"), "StatefulSet", "postgres")
    assert container(database)["name"] == cluster.DATABASE_CONTAINER
    assert cluster.DATABASE_VOLUME in {mount["mountPath"] for mount in container(database)["volumeMounts"]}
    gate = named(overlay("dev"), "Service", "slo-gate")
    (port,) = gate["spec"]["ports"]
    assert f"http://{gate['metadata']['name']}.{gate['metadata']['namespace']}.svc.cluster.local:{port['port']}" == (
        cluster.GATE
    )
    variables = {
        each["name"]: each["value"] for each in container(named(overlay("dev"), "Deployment", "slo-gate"))["env"]
    }
    assert variables["GATE_PROMETHEUS_URL"] == cluster.PROMETHEUS


def test_the_weeks_schedules_are_the_runners_weekday_plan() -> None:
    days = {path.stem: read(path)["spec"] for path in (MESH / "week").glob("*day.yaml")}
    week = {day: planned for day, planned in plan.load().items() if planned}
    assert {*days} == {*week}
    for day, spec in days.items():
        assert spec["schedule"].split() == ["0", "10", "*", "*", str((plan.WEEKDAYS.index(day) + 1) % 7)]
        assert (spec["type"], spec["concurrencyPolicy"]) == ("Workflow", "Forbid")
        assert spec["historyLimit"] >= 1
        assert spec["startingDeadlineSeconds"] < 3600
        (entry,) = (each for each in spec["workflow"]["templates"] if each["name"] == spec["workflow"]["entry"])
        ran = [child for child in entry["children"] if child in week[day]]
        assert ran == [each for each in week[day] if each in SOURCES.faults or SOURCES.of[each].control]
    assert workflows()["drill"] == days["friday"]["workflow"]
    applied = build("../chaos/mesh/week")
    assert {taken["metadata"]["name"] for taken in applied} == {f"chaos-{day}" for day in days}
    for taken in applied:
        assert taken["spec"] == days[taken["metadata"]["name"].removeprefix("chaos-")]


def test_the_gate_watches_beside_every_fault_and_ends_the_workflow() -> None:
    known = objectives.read()
    for day, workflow in workflows().items():
        templates = {each["name"]: each for each in workflow["templates"]}
        order = templates[workflow["entry"]]["children"]
        assert order[0] == "begins-steady"
        for name in order:
            template = templates[name]
            if template["templateType"] == "Parallel":
                fault, gate = (templates[child] for child in template["children"])
                assert seconds(gate["deadline"]) >= seconds(fault["deadline"]) or fault["templateType"] == "Serial"
                assert gate["statusCheck"]["mode"] == "Continuous"
                assert gate["statusCheck"]["http"]["url"] == f"{cluster.GATE}/slo/{name}"
                # from the breach to the abort: two probes
                assert gate["statusCheck"]["failureThreshold"] == 2
                assert order[order.index(name) + 1] == f"{name}-settles"
        checks = [each for each in templates.values() if each["templateType"] == "StatusCheck"]
        assert all(each["abortWithStatusCheck"] is True for each in checks), day
        for each in checks:
            assert each["statusCheck"]["http"]["url"].rpartition("/")[2] in known
            assert each["statusCheck"]["http"]["criteria"]["statusCode"] == "200"
            assert each["statusCheck"]["timeoutSeconds"] <= each["statusCheck"]["intervalSeconds"]
        used = {child for each in templates.values() for child in each.get("children", [])}
        assert {*templates} - {workflow["entry"]} == used


def test_what_is_done_several_times_is_done_so_often_and_so_far_apart() -> None:
    templates = {each["name"]: each for each in workflows()["tuesday"]["templates"]}
    kills = templates["order-killed-fault"]
    assert kills["children"] == ["order-killed-fault-once"] * 4
    assert seconds(templates["order-killed-fault-once"]["deadline"]) == 4
    assert seconds(templates["order-killed-gate"]["deadline"]) >= 16


def test_http_faults_have_a_form_for_the_mesh_which_has_no_retries_beside_a_fault() -> None:
    http = {name for name, document in experiments().items() if document["kind"] == "HTTPChaos"}
    assert {path.stem for path in ISTIO.glob("*.yaml")} == http
    for name in http:
        text, virtual = (ISTIO / f"{name}.yaml").read_text(encoding="utf-8"), read(ISTIO / f"{name}.yaml")
        own = re.search(r"Ends with: kubectl apply -n holdfast -f (infra/istio/\S+)", text)
        assert own is not None
        before = read(ROOT / own[1])
        assert (virtual["kind"], virtual["metadata"]["name"]) == (before["kind"], before["metadata"]["name"])
        assert virtual["spec"]["hosts"] == before["spec"]["hosts"]
        routes = virtual["spec"]["http"]
        broken = [route for route in routes if "fault" in route]
        assert broken
        for route in broken:
            assert not {"retries", "timeout"} & {*route}
            # it stands before the route that it takes its requests from, and sends them where that one does
            following = routes[routes.index(route) + 1]
            assert route["name"] == f"{following['name']}-broken"
            assert route["route"] == following["route"]
            assert all(match["uri"]["prefix"] in ("/process", "/availability") for match in route["match"])
        assert [route for route in routes if "fault" not in route] == before["spec"]["http"]


def test_a_canarys_fault_in_the_mesh_is_its_share_of_the_traffic() -> None:
    routes = {each["name"]: each for each in read(ISTIO / "bad-canary.yaml")["spec"]["http"]}
    assert routes["money-broken"]["fault"] == {"abort": {"percentage": {"value": 10.0}, "httpStatus": 500}}
    assert routes["money-asked-for-v2-broken"]["fault"]["abort"]["percentage"] == {"value": 100.0}
    assert "money-asked-for-v1-broken" not in routes


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_gate_is_asked_by_chaos_meshs_controller_and_reads_its_objectives_from_a_map(name: str) -> None:
    built = overlay(name)
    gate = named(built, "Deployment", "slo-gate")
    (volume,) = pod(gate)["volumes"]
    held = named(built, "ConfigMap", volume["configMap"]["name"])
    assert held["data"]["objectives.yaml"] == files.GATE.read_text(encoding="utf-8")
    policy = named(built, "NetworkPolicy", "slo-gate")["spec"]
    (controller,) = (
        peer
        for rule in policy["ingress"]
        for peer in rule["from"]
        if peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == "chaos-mesh"
    )
    assert controller["podSelector"]["matchLabels"] == {"app.kubernetes.io/component": "controller-manager"}
    assert pod_labels(gate)["sidecar.istio.io/inject"] == "false", "the controller speaks no mutual TLS"
