"""Litmus' side of the experiments: engines that stop at the same limits, and a Workflow that always takes them back."""

import yaml

from chaos.render import files, litmus
from chaos.render.files import LITMUS
from tests.unit.chaos.test_manifests import SOURCES, Document, read
from tests.unit.manifests.building import ROOT, build, named, of_kind
from tests.unit.manifests.test_validity import problems


def embedded() -> list[tuple[str, Document]]:
    """The manifests inside the Argo Workflow."""
    templates = read(LITMUS / "workflow.yaml")["spec"]["templates"]
    return [
        (template["name"], yaml.safe_load(template["resource"]["manifest"]))
        for template in templates
        if "manifest" in template.get("resource", {})
    ]


def test_manifests_inside_the_argo_workflow_are_valid_too() -> None:
    found = [(name, document) for name, document in embedded() if name != "verdict"]
    assert len(found) == len(litmus.EXPERIMENTS) + len(files.ENGINES)
    assert problems(found) == []


def test_litmus_begins_steady_stops_at_the_limit_and_reverts_whatever_happens() -> None:
    workflow = read(LITMUS / "workflow.yaml")["spec"]
    templates = {each["name"]: each for each in workflow["templates"]}
    assert templates[workflow["onExit"]]["steps"][0][0]["template"] == "delete-engines"
    label = f"{litmus.RUN_LABEL}={{{{workflow.uid}}}}"
    assert label in templates["delete-engines"]["resource"]["flags"]
    engines = {name.removeprefix("run-"): each for name, each in embedded() if each["kind"] == "ChaosEngine"}
    assert {*engines} == {*files.ENGINES}
    ran = [step["template"] for group in templates["resilience"]["steps"] for step in group]
    assert [name for name in ran if name.startswith("run-")] == [f"run-{name}" for name in files.ENGINES]
    assert ran.count("verdict") == len(files.ENGINES)
    for name, engine in engines.items():
        assert engine["metadata"]["labels"][litmus.RUN_LABEL] == "{{workflow.uid}}"
        by_hand = read(LITMUS / "engines" / f"{name}.yaml")
        assert by_hand["spec"] == engine["spec"]
        (experiment,) = engine["spec"]["experiments"]
        assert experiment["name"] in litmus.EXPERIMENTS
        probes = experiment["spec"]["probe"]
        assert {each["type"] for each in probes} == {"promProbe"}
        assert {each["mode"] for each in probes} == {"SOT", "Continuous"}
        assert all(each["runProperties"]["stopOnFailure"] for each in probes)
        env = {each["name"]: each["value"] for each in experiment["spec"]["components"]["env"]}
        assert float(env["TOTAL_CHAOS_DURATION"]) <= SOURCES.of[name].fault_seconds


def test_litmus_accounts_may_break_pods_and_read_no_secret() -> None:
    built = build("../chaos/litmus")
    assert of_kind(built, "ClusterRole", "ClusterRoleBinding") == []
    for role in of_kind(built, "Role"):
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert not {*rule["resources"]} & {"secrets", "configmaps", "pods/exec", "pods/attach", "deployments/scale"}
    on_targets = named(built, "Role", "litmus-targets")
    changes = {
        resource: {*rule["verbs"]} - {"get", "list", "watch"}
        for rule in on_targets["rules"]
        for resource in rule["resources"]
    }
    assert on_targets["metadata"]["namespace"] == "holdfast"
    assert {name: verbs for name, verbs in changes.items() if verbs} == {"pods": {"delete"}}
    assert "litmus-targets" in {each["roleRef"]["name"] for each in of_kind(built, "RoleBinding")}
    accounts = {each["metadata"]["name"] for each in of_kind(built, "ServiceAccount")}
    engines = [read(path) for path in (LITMUS / "engines").glob("*.yaml")]
    assert {each["spec"]["chaosServiceAccount"] for each in engines} <= accounts
    assert read(LITMUS / "workflow.yaml")["spec"]["serviceAccountName"] in accounts


def test_images_are_pinned() -> None:
    images = [each["spec"]["definition"]["image"] for each in of_kind(build("../chaos/litmus"), "ChaosExperiment")]
    assert len(images) == len(litmus.EXPERIMENTS)
    assert {*images} == {f"litmuschaos/go-runner:{litmus.LITMUS}"}
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "chaos").rglob("*.yaml")]
    assert not any(":latest" in text for text in texts)
