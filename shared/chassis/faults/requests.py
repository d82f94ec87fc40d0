"""The faults that can be asked for, as `POST /admin/faults` takes them."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

LONGEST_SECONDS = 600.0
SHORTEST_SECONDS = 0.1
MOST_MEMORY_MB = 1_024

Rate = Annotated[float, Field(gt=0, le=1, description="The share that is struck")]
Milliseconds = Annotated[float, Field(ge=0, le=60_000)]


class FaultRequest(BaseModel):
    """What every fault has: a kind, a time to live in seconds and, if any, the experiment that it belongs to."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    kind: str
    seconds: float = Field(ge=SHORTEST_SECONDS, le=LONGEST_SECONDS)
    experiment: str | None = Field(
        default=None, min_length=1, max_length=64, pattern=r"^[\w.:/-]+$", description="Appears in logs and on spans"
    )


class HttpFault(FaultRequest):
    """Requests that come in: delayed first, then answered with `status`, or cut without an answer."""

    kind: Literal["http"] = "http"
    path: str = Field(default="/", max_length=200, pattern="^/", description="Paths that begin so")
    method: str | None = Field(default=None, max_length=20, pattern="^[A-Z]+$")
    latency_ms: Milliseconds = 0
    jitter_ms: Milliseconds = Field(default=0, description="Up to so much more, evenly spread")
    status: int | None = Field(default=None, ge=400, le=599)
    abort: bool = False
    rate: Rate = 1

    @model_validator(mode="after")
    def _does_one_thing(self) -> Self:
        if self.status is not None and self.abort:
            raise ValueError("either status or abort, not both")
        if self.status is None and not (self.abort or self.latency_ms or self.jitter_ms):
            raise ValueError("a fault that does nothing: needs latency_ms, jitter_ms, status or abort")
        return self


class NetworkFault(FaultRequest):
    """Calls that go out to another service; `on_ms` and `off_ms` in turn, from the beginning, when both are given."""

    kind: Literal["network"] = "network"
    to: str | None = Field(default=None, max_length=64, description="The service; every one when left out")
    error: Literal["refused", "dns", "timeout"]
    rate: Rate = 1
    on_ms: float | None = Field(default=None, gt=0, le=600_000)
    off_ms: float | None = Field(default=None, gt=0, le=600_000)

    @model_validator(mode="after")
    def _flaps_both_ways(self) -> Self:
        if (self.on_ms is None) != (self.off_ms is None):
            raise ValueError("on_ms and off_ms go together")
        return self


class DatabaseFault(FaultRequest):
    """Statements: delayed first, then failed as the driver would fail them."""

    kind: Literal["database"] = "database"
    statements: Literal["any", "read", "write"] = "any"
    latency_ms: Milliseconds = 0
    error: Literal["locked", "full", "disconnected"] | None = None
    rate: Rate = 1

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.error is None and not self.latency_ms:
            raise ValueError("a fault that does nothing: needs latency_ms or error")
        return self


class DiskFault(FaultRequest):
    """Files of this process that take no more bytes."""

    kind: Literal["disk"] = "disk"


class PoolFault(FaultRequest):
    """Connections that are taken from the pool as they become free, and held."""

    kind: Literal["pool"] = "pool"
    connections: int = Field(ge=1, le=100)
    pool: Literal["write", "read"] = "write"


class CpuFault(FaultRequest):
    """Processor time that is burnt in the process, in competition with its event loop."""

    kind: Literal["cpu"] = "cpu"
    share: float = Field(gt=0, le=1, description="Of one core")


class MemoryFault(FaultRequest):
    """Memory that leaks, up to a bound, and is given back at the end."""

    kind: Literal["memory"] = "memory"
    mb_per_second: float = Field(gt=0, le=1_000)
    max_mb: int = Field(ge=1, le=MOST_MEMORY_MB)


class LoopFault(FaultRequest):
    """An event loop that is blocked for `block_ms`, over and over; `every_ms` is from one beginning to the next."""

    kind: Literal["loop"] = "loop"
    block_ms: float = Field(ge=1, le=10_000)
    every_ms: float = Field(ge=2, le=600_000)

    @model_validator(mode="after")
    def _turns_in_between(self) -> Self:
        if self.every_ms <= self.block_ms:
            raise ValueError("every_ms must be more than block_ms")
        return self


class ClockFault(FaultRequest):
    """The time of day, wrong by so many seconds."""

    kind: Literal["clock"] = "clock"
    offset_seconds: float = Field(ge=-86_400, le=86_400)


class IdempotencyFault(FaultRequest):
    """Keys that are known and not recognized: what has been done under them is done again."""

    kind: Literal["idempotency"] = "idempotency"
    rate: Rate = 1


KINDS: dict[str, type[FaultRequest]] = {
    "http": HttpFault,
    "network": NetworkFault,
    "database": DatabaseFault,
    "disk": DiskFault,
    "pool": PoolFault,
    "cpu": CpuFault,
    "memory": MemoryFault,
    "loop": LoopFault,
    "clock": ClockFault,
    "idempotency": IdempotencyFault,
}


def schema() -> dict[str, Any]:
    """JSON schema of a request, without references, for an OpenAPI document."""
    return {"oneOf": [model.model_json_schema() for model in KINDS.values()]}
