"""The collector and Jaeger of compose and Kubernetes: their configurations hold together, and sample as we do."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from services.control_room.settings import ControlRoomSettings
from tests.unit.telemetry.collector_shapes import COMPONENTS, Configuration, read

INFRA = Path(__file__).parents[3] / "infra"
COLLECTOR, JAEGER = INFRA / "otel-collector" / "collector.yaml", INFRA / "jaeger" / "config.yaml"
BOTH = pytest.mark.parametrize("path", [COLLECTOR, JAEGER], ids=lambda path: path.parent.name)
SPANS_OF_AN_ORDER = 27


def configuration(path: Path) -> Configuration:
    return Configuration.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def default(name: str) -> Any:
    return ControlRoomSettings.model_fields[name].default


@BOTH
def test_every_setting_is_one_that_its_component_has(path: Path) -> None:
    found = configuration(path)
    for kind in COMPONENTS:
        for name, settings in getattr(found, kind).items():
            read(kind, name, settings)


@BOTH
def test_what_is_defined_is_used_and_what_is_used_is_defined(path: Path) -> None:
    found = configuration(path)
    assert found.service.extensions == list(dict.fromkeys(found.service.extensions))
    assert set(found.service.extensions) == set(found.extensions)
    pipelines = found.service.pipelines.values()
    for kind in ("receivers", "processors", "exporters"):
        assert {name for pipeline in pipelines for name in getattr(pipeline, kind)} == set(getattr(found, kind))
    assert list(found.service.pipelines) == ["traces"]


def test_memory_is_limited_before_anything_else_and_batches_come_after_sampling() -> None:
    found = configuration(COLLECTOR)
    assert found.service.pipelines["traces"].processors == ["memory_limiter", "tail_sampling", "batch"]
    limiter = read("processors", "memory_limiter", found.processors["memory_limiter"])
    assert limiter.spike_limit_mib == limiter.limit_mib / 5


def test_the_collector_keeps_the_traces_that_the_control_room_would_keep() -> None:
    sampling = read("processors", "tail_sampling", configuration(COLLECTOR).processors["tail_sampling"])
    assert sampling.decision_wait == f"{default('decision_seconds'):g}s"
    errors, slow, share, floor = sampling.policies  # the rate is used up by what nothing else keeps, so it is the last
    assert errors.status_code.status_codes == ["ERROR"]
    assert slow.latency.threshold_ms == default("slow_ms")
    assert share.probabilistic.sampling_percentage == 10 == 100 * default("trace_share")
    assert floor.rate_limiting.spans_per_second == SPANS_OF_AN_ORDER * default("trace_floor")
    assert sampling.sample_on_first_match
    cache = sampling.decision_cache
    assert min(cache.sampled_cache_size, cache.non_sampled_cache_size) >= 10 * sampling.num_traces


def test_a_request_may_be_as_large_as_the_control_room_takes() -> None:
    protocols = read("receivers", "otlp", configuration(COLLECTOR).receivers["otlp"]).protocols
    assert protocols.http.max_request_body_size == default("max_body_bytes")
    assert protocols.grpc.max_recv_msg_size_mib * 2**20 == default("max_body_bytes")


def test_the_collector_sends_where_jaeger_listens() -> None:
    to = read("exporters", "otlp/jaeger", configuration(COLLECTOR).exporters["otlp/jaeger"]).endpoint
    grpc = read("receivers", "otlp", configuration(JAEGER).receivers["otlp"]).protocols.grpc.endpoint
    assert to == grpc.replace("0.0.0.0", "jaeger")


def test_jaeger_writes_and_queries_one_store_and_keeps_traces_as_long_as_the_control_room() -> None:
    found = configuration(JAEGER)
    [(store, backend)] = read("extensions", "jaeger_storage", found.extensions["jaeger_storage"]).backends.items()
    assert read("extensions", "jaeger_query", found.extensions["jaeger_query"]).storage.traces == store
    exporter = read("exporters", "jaeger_storage_exporter", found.exporters["jaeger_storage_exporter"])
    assert exporter.trace_storage == store
    assert backend.badger.ttl.spans == f"{default('retention_hours'):g}h"
