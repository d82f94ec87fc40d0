"""A metric that a page says to watch is one that something exports."""

import re
from functools import cache

from prometheus_client import CollectorRegistry, generate_latest

from shared.resilience import Registry
from shared.resilience.prometheus import ResilienceCollector
from tests.unit.docs.pages import ROOT, name, pages

_WATCHED = ("README.md", "docs/patterns.md", "docs/limitations.md", "docs/operations.md", "docs/runbooks/")
_METRIC = re.compile(
    r"\b((?:resilience4?j?|envoy|http|otlp|orders?|outbox|payment|payments|prediction|inventory|messages|requests|queued"
    r"|faults|process|db|event|background|holds|stock|refunds|slo|chaos|remediation|failure)_[a-z0-9_]*[a-z0-9])\b"
)
_ENVOYS = {
    "envoy_cluster_outlier_detection_ejections_active",
    "envoy_cluster_upstream_rq_retry",
    "envoy_http_local_rate_limit_rate_limited",
}
_LIBRARYS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
_PUT_TOGETHER = {f"payment_service_calls_{outcome}_total" for outcome in ("success", "failure", "fallback")}
_NO_METRIC = re.compile(r"_(?:url|token|key|seconds|mb|injection|public|private|settlements)$|^(?:slo|http)_[a-z]+$")


@cache
def exported() -> frozenset[str]:
    """Names in the sources, with and without what the client library adds, and those that are put together there."""
    registry = CollectorRegistry()
    registry.register(ResilienceCollector(Registry.from_file(ROOT / "services" / "order" / "resilience.yaml")))
    found = set(re.findall(r"^(\w+)", generate_latest(registry).decode(), re.MULTILINE))
    for top in ("shared", "services", "infra", "chaos", "ml"):
        for path in (ROOT / top).rglob("*.py"):
            found |= set(re.findall(r"[\"'](\w+_\w+)[\"']", path.read_text(encoding="utf-8")))
    return frozenset(found | {f"{each}{suffix}" for each in found for suffix in ("_total", "_count", "_bucket")})


def test_every_metric_that_a_page_says_to_watch_is_exported() -> None:
    watched = [page for page in pages() if name(page).startswith(_WATCHED)]
    named = {
        (name(page), metric)
        for page in watched
        for code in re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))
        for metric in _METRIC.findall(code)
    }
    assert len(named) > 80
    known = exported() | _ENVOYS | _LIBRARYS | _PUT_TOGETHER
    unknown = {(page, each) for page, each in named if each not in known and not _NO_METRIC.search(each)}
    assert sorted(unknown) == []
