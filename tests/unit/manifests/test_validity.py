"""Every document is one that its API server would take: core kinds by Kubernetes' schemas, others by their CRDs."""

import functools
import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate.utils
import pytest
import yaml

from tests.unit.manifests.building import INFRA, OVERLAYS, ROOT, Document, build, overlay, written

CRDS = os.environ.get("HOLDFAST_CRDS", "")

# Each schema is read once instead of once a document.
_read = functools.cache(kubernetes_validate.utils.schema_contents)


def crd_validator() -> ModuleType:
    """The validator that lies beside the CRDs' schemas."""
    path = Path(CRDS) / "validate.py"
    if not CRDS or not path.exists():
        pytest.skip("HOLDFAST_CRDS names no directory with the schemas of CRDs")
    spec = importlib.util.spec_from_file_location("crd_validator", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def core_problem(document: Document) -> str | None:
    """What Kubernetes' own schema has against a document; `unknown` when it has none for the kind."""
    try:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError:
        return "unknown"
    return None


@pytest.fixture(autouse=True)
def _read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", _read)


def problems(documents: list[tuple[str, Document]]) -> list[str]:
    """All that is wrong, warnings included. Every document must be known to one of the two validators."""
    validator = crd_validator()
    catalog = validator.Catalog()
    found = []
    for where, document in documents:
        name = f"{where}: {document['kind']} {document['metadata'].get('name')}"
        core = core_problem(document)
        if core is None:
            continue
        if core != "unknown":
            found.append(f"{name}: {core}")
            continue
        found += [
            f"{name}: {level} {validator.path_of(path)} {message}"
            for level, path, message in validator.check(document, catalog)
            if level != "OK"  # a note says that the kind is not covered
        ]
    return found


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_document_of_an_overlay_is_valid(name: str) -> None:
    assert problems([(name, document) for document in overlay(name)]) == []


def test_every_object_in_a_file_below_infra_is_valid_as_it_stands() -> None:
    documents = [(str(path.relative_to(ROOT)), document) for path, document in written()]
    assert any("canary/0-100.yaml" in path for path, _ in documents)
    assert problems(documents) == []


def test_the_validators_refuse_what_is_wrong() -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}, "secret": "typed wrongly"}
    assert "secret" in str(core_problem(account))
    rule = next(each for each in build("istio") if each["kind"] == "DestinationRule")
    policy = {**rule["spec"]["trafficPolicy"], "outlierDetection": {"consecutiveErrors": 5}}
    found = problems([("x", {**rule, "spec": {**rule["spec"], "trafficPolicy": policy}})])
    assert any("consecutiveErrors" in problem for problem in found), found
    assert problems([("x", {"apiVersion": "v1", "kind": "Pot", "metadata": {"name": "tea"}})]) != []


class _Unique(yaml.SafeLoader):
    """Refuses a mapping that has a key twice: the first value would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        assert not twice, f"{node.start_mark}: twice: {', '.join(twice)}"
        return super().construct_mapping(node, deep)


def test_every_yaml_file_below_infra_can_be_read_and_has_no_key_twice() -> None:
    files = [path for kind in ("*.yaml", "*.yml") for path in INFRA.rglob(kind)]
    assert len(files) > 50
    for path in files:
        list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=_Unique))


def test_every_component_and_every_manifest_is_part_of_an_overlay_or_applied_by_hand() -> None:
    built = {(each["kind"], each["metadata"]["name"]) for name in OVERLAYS for each in overlay(name)}
    # a job's name ends with the version, a generated map's with a hash
    names = {(kind, name.removesuffix("-0-1-0")) for kind, name in built}
    by_hand = (INFRA / "istio" / "canary", INFRA / "istio" / "drills")
    missing = [
        str(path.relative_to(ROOT))
        for path, each in written()
        if path.parent not in by_hand and (each["kind"], each["metadata"]["name"]) not in names
    ]
    assert missing == []
