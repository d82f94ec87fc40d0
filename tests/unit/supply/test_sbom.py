"""The bill of materials: whole, valid, and the same each time."""

import json

import pytest

from infra.supply import sbom
from infra.supply.locks import LockError, read


def test_the_bill_has_every_pin_with_its_hashes_its_licence_and_a_place_in_the_graph() -> None:
    bill = json.loads(sbom.document("runtime"))
    pins = {pin.name: pin for pin in read("runtime")}
    assert {part["name"] for part in bill["components"]} == {*pins}
    for part in bill["components"]:
        pin = pins[part["name"]]
        assert part["purl"] == f"pkg:pypi/{pin.name}@{pin.version}"
        ((reference,), (licence,)) = part["externalReferences"], part["licenses"]
        assert sorted(each["content"] for each in reference["hashes"]) == list(pin.hashes)
        assert licence.get("expression") or licence["license"]["id"]
    graph = {node["ref"]: node.get("dependsOn", []) for node in bill["dependencies"]}
    assert {*graph} == {"holdfast", *(part["bom-ref"] for part in bill["components"])}
    assert {ref.partition("@")[0] for ref in graph["holdfast"]} >= {"pkg:pypi/fastapi", "pkg:pypi/httpx"}
    assert any(ref.startswith("pkg:pypi/starlette@") for ref in graph[f"pkg:pypi/fastapi@{pins['fastapi'].version}"])
    reached, ahead = set[str](), ["holdfast"]
    while ahead:
        ref = ahead.pop()
        if ref not in reached:
            reached.add(ref)
            ahead += graph[ref]
    assert reached == {*graph}, "what nothing asks for"


def test_the_same_lock_gives_the_same_bytes_and_the_moment_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    first = sbom.document("uv")
    assert sbom.document("uv") == first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1764000000")
    assert json.loads(sbom.document("uv"))["metadata"]["timestamp"].startswith("2025-11-24T")
    assert json.loads(first)["serialNumber"] == json.loads(sbom.document("uv"))["serialNumber"]


def test_a_distribution_without_a_licence_on_the_page_stops_the_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom, "table", dict)
    with pytest.raises(LockError, match="make licences"):
        sbom.document("uv")
