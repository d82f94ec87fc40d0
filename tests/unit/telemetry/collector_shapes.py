"""What the components that we configure understand, as far as we use them; any other key is a mistake.

From config.schema.yaml and config.go of opentelemetry-collector-contrib 0.147 (tail sampling, health check) and of
opentelemetry-collector (memory limiter, batch, OTLP, telemetry), and from Jaeger 2's (query, storage, badger).
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Duration = Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$")]
Address = Annotated[str, Field(pattern=r"^[a-z0-9.-]+:[0-9]{2,5}$")]
Count = Annotated[int, Field(strict=True, ge=1)]


class Shape(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(extra="forbid")


class Policy(Shape):
    """What each policy has. The key named as the type holds its settings."""

    name: str


class Codes(Shape):
    status_codes: list[Literal["OK", "ERROR", "UNSET"]]


class Errors(Policy):
    type: Literal["status_code"]
    status_code: Codes


class Threshold(Shape):
    threshold_ms: Count


class Slow(Policy):
    type: Literal["latency"]
    latency: Threshold


class Percentage(Shape):
    sampling_percentage: Annotated[float, Field(gt=0, le=100)]


class Share(Policy):
    type: Literal["probabilistic"]
    probabilistic: Percentage


class Rate(Shape):
    spans_per_second: Count


class Floor(Policy):
    type: Literal["rate_limiting"]
    rate_limiting: Rate


class DecisionCache(Shape):
    sampled_cache_size: Count
    non_sampled_cache_size: Count


class TailSampling(Shape):
    decision_wait: Duration
    num_traces: Count
    expected_new_traces_per_sec: Count
    decision_cache: DecisionCache
    sample_on_first_match: bool
    policies: list[Annotated[Errors | Slow | Share | Floor, Field(discriminator="type")]]


class MemoryLimiter(Shape):
    check_interval: Duration
    limit_mib: Count
    spike_limit_mib: Count


class Batch(Shape):
    timeout: Duration
    send_batch_size: Count
    send_batch_max_size: Count | None = None


class Grpc(Shape):
    endpoint: Address
    max_recv_msg_size_mib: Count | None = None


class Http(Shape):
    endpoint: Address
    max_request_body_size: Count | None = None


class Protocols(Shape):
    grpc: Grpc
    http: Http


class OtlpReceiver(Shape):
    protocols: Protocols


class Tls(Shape):
    insecure: bool


class SendingQueue(Shape):
    enabled: Literal[True]
    queue_size: Count
    num_consumers: Count


class RetryOnFailure(Shape):
    enabled: Literal[True]
    initial_interval: Duration
    max_interval: Duration
    max_elapsed_time: Duration


class OtlpExporter(Shape):
    endpoint: Address
    tls: Tls
    timeout: Duration
    sending_queue: SendingQueue
    retry_on_failure: RetryOnFailure


class JaegerExporter(Shape):
    trace_storage: str


class HealthCheck(Shape):
    endpoint: Address


class HealthCheckV2(Shape):
    use_v2: Literal[True]
    http: Http


class Directories(Shape):
    keys: str
    values: str


class Ttl(Shape):
    spans: Duration


class Badger(Shape):
    ephemeral: Literal[False]
    directories: Directories
    ttl: Ttl


class Backend(Shape):
    badger: Badger


class JaegerStorage(Shape):
    backends: dict[str, Backend]


class QueriedStores(Shape):
    traces: str


class JaegerQuery(Shape):
    storage: QueriedStores
    http: Http
    grpc: Grpc


class Pipeline(Shape):
    receivers: Annotated[list[str], Field(min_length=1)]
    processors: list[str]
    exporters: Annotated[list[str], Field(min_length=1)]


class Logs(Shape):
    level: Literal["debug", "info", "warn", "error"]
    encoding: Literal["json", "console"]


class PrometheusReader(Shape):
    host: str
    port: Count


class PullExporter(Shape):
    prometheus: PrometheusReader


class Pull(Shape):
    exporter: PullExporter


class Reader(Shape):
    pull: Pull


class Metrics(Shape):
    level: Literal["none", "basic", "normal", "detailed"]
    readers: list[Reader]


class Telemetry(Shape):
    resource: dict[str, str] = Field(default_factory=dict)
    logs: Logs
    metrics: Metrics


class Service(Shape):
    extensions: list[str]
    pipelines: dict[str, Pipeline]
    telemetry: Telemetry


class Configuration(Shape):
    """A whole file. Components are named `type` or `type/name`."""

    extensions: dict[str, dict[str, Any]]
    receivers: dict[str, dict[str, Any]]
    processors: dict[str, dict[str, Any]]
    exporters: dict[str, dict[str, Any]]
    service: Service


COMPONENTS: dict[str, dict[str, type[Shape]]] = {
    "extensions": {
        "health_check": HealthCheck,
        "healthcheckv2": HealthCheckV2,
        "jaeger_storage": JaegerStorage,
        "jaeger_query": JaegerQuery,
    },
    "receivers": {"otlp": OtlpReceiver},
    "processors": {"memory_limiter": MemoryLimiter, "tail_sampling": TailSampling, "batch": Batch},
    "exporters": {"otlp": OtlpExporter, "jaeger_storage_exporter": JaegerExporter},
}


def read(kind: str, name: str, settings: dict[str, Any]) -> Any:
    """A component's settings, checked. Raises KeyError for an unknown component, ValidationError for its settings."""
    return TypeAdapter(COMPONENTS[kind][name.partition("/")[0]]).validate_python(settings)
