"""A CycloneDX bill of materials (https://cyclonedx.org) of what a lock installs: the same lock, the same bytes."""

import os
import re
import tomllib
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from infra.supply.licences import table
from infra.supply.locks import ROOT, ROOT_PROJECT, LockError, Pin, path_of, read

SHIPPED = ("local", "predict", "remediation", "runtime")
"""What is installed to run the platform: `make up`, the predictor's image, the actuator, the services' images."""

_NAMESPACE = uuid.UUID("6f1c7f4e-5d0b-5c1b-9a44-2f0a6f2d7c11")


def write(lock: str, directory: Path) -> Path:
    """`<directory>/<lock>.cdx.json`. LockError: no such lock, or a licence is missing on docs/licences.md."""
    text = document(lock)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{lock}.cdx.json"
    path.write_text(text, encoding="utf-8")
    return path


def document(lock: str) -> str:
    """The bill as JSON, checked against CycloneDX's own schema. LockError: as `write`."""
    text = JsonV1Dot6(_bom(lock)).output_as_string(indent=2)
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        raise LockError(f"the bill of {lock} is no CycloneDX: {wrong}")
    return f"{text}\n"


def _bom(lock: str) -> Bom:
    licences, pins = table(), read(lock)
    missing = [pin.name for pin in pins if (pin.name, pin.version) not in licences]
    if missing:
        raise LockError(f"docs/licences.md does not have {', '.join(missing)}: make licences")
    components = {pin: _component(pin, licences[pin.name, pin.version]) for pin in pins}
    bom = Bom(components=components.values(), serial_number=uuid.uuid5(_NAMESPACE, path_of(lock).read_text("utf-8")))
    bom.metadata.component = root = _ourselves(lock)
    bom.metadata.timestamp = _moment()
    by_name: dict[str, list[Component]] = {ROOT_PROJECT: [root]}
    for pin, component in components.items():
        by_name.setdefault(pin.name, []).append(component)
    needs: dict[str, list[Component]] = {}
    for pin, component in components.items():
        for name in pin.wanted_by or (ROOT_PROJECT,):
            needs.setdefault(name, []).append(component)
    for name, found in by_name.items():
        for component in found:
            bom.register_dependency(component, needs.get(name, []))
    return bom


def _component(pin: Pin, licence: str) -> Component:
    purl = PackageURL("pypi", name=pin.name, version=pin.version)
    return Component(
        name=pin.name,
        version=pin.version,
        type=ComponentType.LIBRARY,
        bom_ref=str(purl),
        purl=purl,
        licenses=[LicenseFactory().make_from_string(licence)],
        # one of these files is installed, as the platform wants it: hashes of distributions, not of the component
        external_references=[_distribution(purl, pin.hashes)],
        properties=[Property(name="holdfast:marker", value=pin.marker)] if pin.marker else [],
    )


def _distribution(purl: PackageURL, hashes: Iterable[str]) -> ExternalReference:
    return ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(purl)),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in hashes],
    )


def _ourselves(lock: str) -> Component:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return Component(
        name=project["name"],
        version=project["version"],
        type=ComponentType.APPLICATION,
        description=f"{project['description']}: what requirements/{lock}.lock installs",
        bom_ref=project["name"],
        licenses=[LicenseFactory().make_from_string(project["license"])],
    )


def _moment() -> datetime:
    """SOURCE_DATE_EPOCH where it is set (https://reproducible-builds.org), else the beginning of time."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(given) if re.fullmatch(r"\d{1,11}", given) else 0, UTC)
