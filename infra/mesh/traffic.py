"""The numbers of the mesh, read from `traffic.yaml` and checked: the one source of Envoy's and Istio's files."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

TRAFFIC = Path(__file__).with_name("traffic.yaml")

Duration = Annotated[str, Field(pattern=r"^\d+(\.\d+)?s$")]
"""Seconds as Envoy and Istio write them: `0.25s`."""
Percent = Annotated[int, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RateLimit(_Part):
    """A token bucket: `burst` requests at once, refilled at `requests_per_second`."""

    requests_per_second: Count
    burst: Count


class Edge(_Part):
    """What holds where requests come in from outside."""

    rate_limit: RateLimit
    max_request_bytes: Count
    max_connections: Count
    request_headers_timeout: Duration
    request_timeout: Duration
    idle_timeout: Duration


class Retries(_Part):
    """Retries of the mesh. `attempts` does not count the first try."""

    attempts: Count
    per_try_idle_timeout: Duration
    # Whatever else Envoy can retry has reached a server, which may have done the work.
    retry_on: list[Literal["connect-failure", "refused-stream"]]


class Lesson(_Part):
    """Retries of charges that no platform should have, switched on by `infra.mesh.lesson` only."""

    attempts: Count
    per_try_timeout: Duration


class ConnectionPool(_Part):
    """Bounds on what one proxy has open to one service; more is refused with 503."""

    max_connections: Count
    max_pending_requests: Count
    max_requests: Count
    max_retries: Count


class Versions(_Part):
    """The canary: shares of two versions in percent, and the header that chooses the second one."""

    header: str
    v1: Percent
    v2: Percent

    @model_validator(mode="after")
    def _make_a_whole(self) -> "Versions":
        if self.v1 + self.v2 != 100:
            raise ValueError(f"v1 and v2 make {self.v1 + self.v2} %")
        return self


class ServiceTraffic(_Part):
    """Routes to one service. `timeouts` by path prefix; `/` is every other path."""

    timeouts: dict[str, Duration]
    connection_pool: ConnectionPool
    versions: Versions | None = None

    @model_validator(mode="after")
    def _has_a_rest(self) -> "ServiceTraffic":
        if "/" not in self.timeouts:
            raise ValueError("timeouts: '/' is missing, the time limit of every other path")
        return self


class OutlierDetection(_Part):
    """When a replica that answers badly is left out, and for how long."""

    consecutive_5xx: Count
    consecutive_gateway_failure: Count
    interval: Duration
    base_ejection_time: Duration
    max_ejection_percent: Percent
    min_health_percent: Percent


class HealthCheck(_Part):
    """How replicas are asked whether they are ready."""

    path: str
    interval: Duration
    timeout: Duration
    unhealthy_threshold: Count
    healthy_threshold: Count


class Traffic(_Part):
    """All of `traffic.yaml`."""

    edge: Edge
    retries: Retries
    lesson: Lesson
    services: dict[str, ServiceTraffic]
    connect_timeout: Duration
    upstream_idle_timeout: Duration
    connection_requests: Count
    outlier_detection: OutlierDetection
    health_check: HealthCheck

    def routes(self) -> list[tuple[str, str]]:
        """Every route of the mesh as (service, path prefix)."""
        return [(name, path) for name, service in self.services.items() for path in service.timeouts]


def load(path: Path = TRAFFIC) -> Traffic:
    """Read the numbers.

    Raises:
        pydantic.ValidationError: a number is missing, unknown or out of range.
    """
    return Traffic.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def seconds(duration: str) -> float:
    """`0.25s` as 0.25."""
    return float(duration.removesuffix("s"))
