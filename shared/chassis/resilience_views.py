"""What operators see of the resilience library: pipelines, breakers, faults and events as JSON."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, Field

from shared.resilience import CircuitBreaker, Event, Pipeline, Registry, RetryBudget, SeenError, State
from shared.resilience.events import StateTransition
from shared.resilience.faults import FaultSnapshot

Now = Callable[[], float]


class EventView(BaseModel):
    """Something that happened. Errors appear by their type only: a text may hold what is nobody's business."""

    kind: str
    name: str
    seconds_ago: float
    details: dict[str, Any]


class TransitionView(BaseModel):
    """A breaker that changed its state."""

    before: State
    after: State
    seconds_ago: float


class BreakerView(BaseModel):
    """A circuit breaker now. Rates are in per cent, -1 below the minimum number of calls."""

    name: str
    state: State
    retry_after: float = Field(description="Seconds until calls are tried again, 0 while they are admitted")
    metrics: dict[str, Any]
    transitions: list[TransitionView] = Field(description="Oldest first, as far as they are remembered")


class BudgetView(BaseModel):
    """A retry budget now. Not enforced, it grants every repeat and only counts."""

    name: str
    enforced: bool
    active_calls: int
    active_retries: int
    limit: float = Field(description="How many repeats may be active now")
    tokens: float = Field(description="At or below half of the bucket nothing is repeated")
    granted: int
    refused: int


class FaultView(BaseModel):
    """A fault that acts on the attempts of an instance."""

    id: str
    what: str
    rate: float
    remaining_seconds: float
    struck: int


class InstanceView(BaseModel):
    """One pipeline: its layers from the outside in and whether each is on, its numbers, and what happened lately."""

    name: str
    layers: dict[str, bool]
    breaker: BreakerView | None
    metrics: dict[str, dict[str, Any]]
    budget: dict[str, Any] | None
    faults: list[FaultView]
    events: list[EventView] = Field(description="Oldest first")


class RegistryView(BaseModel):
    """Every pipeline of a replica."""

    replica: str
    file: str
    reloads: dict[str, int]
    items: list[InstanceView]


def registry_view(registry: Registry, replica: str, events: int, now: Now = time.monotonic) -> RegistryView:
    """Every pipeline with its last `events` events."""
    return RegistryView(
        replica=replica,
        file=str(registry.config.file),
        reloads=dict(registry.reloads),
        items=[instance_view(pipeline, events, now) for pipeline in registry.pipelines.values()],
    )


def instance_view(pipeline: Pipeline, events: int, now: Now = time.monotonic) -> InstanceView:
    """One pipeline with its last `events` events."""
    breaker = pipeline.circuit_breaker
    recent = pipeline.recent_events()
    return InstanceView(
        name=pipeline.name,
        layers=pipeline.layers,
        breaker=None if breaker is None else breaker_view(breaker, now),
        metrics=_layer_metrics(pipeline),
        budget=None if pipeline.budget is None else _plain(dataclasses.asdict(pipeline.budget.snapshot())),
        faults=[fault_view(fault) for fault in pipeline.faults.snapshot()],
        events=[_event_view(event, now()) for event in recent[max(0, len(recent) - events) :]],
    )


def breaker_view(breaker: CircuitBreaker, now: Now = time.monotonic) -> BreakerView:
    """A breaker and its transitions."""
    metrics = _plain(dataclasses.asdict(breaker.snapshot()))
    for known in ("name", "state"):
        del metrics[known]
    return BreakerView(
        name=breaker.name,
        state=breaker.state,
        retry_after=metrics.pop("retry_after"),
        metrics=metrics,
        transitions=[
            TransitionView(before=State(each.before), after=State(each.after), seconds_ago=_ago(each, now()))
            for each in breaker.events.recent
            if isinstance(each, StateTransition)
        ],
    )


def budget_view(budget: RetryBudget) -> BudgetView:
    """A budget and its numbers."""
    return BudgetView(**dataclasses.asdict(budget.snapshot()))


def fault_view(fault: FaultSnapshot) -> FaultView:
    """A fault and how long it lives on."""
    return FaultView(
        id=fault.id,
        what=fault.fault.what,
        rate=fault.fault.rate,
        remaining_seconds=round(fault.remaining, 3),
        struck=fault.struck,
    )


def _layer_metrics(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for layer in pipeline.layers:
        snapshot = getattr(getattr(pipeline, layer), "snapshot", None)
        taken = None if snapshot is None or layer == "circuit_breaker" else snapshot()
        if dataclasses.is_dataclass(taken) and not isinstance(taken, type):
            found[layer] = {name: value for name, value in _plain(dataclasses.asdict(taken)).items() if name != "name"}
    return found


def _event_view(event: Event, now: float) -> EventView:
    details = {
        field.name: _plain(getattr(event, field.name))
        for field in dataclasses.fields(event)
        if field.name not in ("name", "at")
    }
    return EventView(kind=type(event).__name__, name=event.name, seconds_ago=_ago(event, now), details=details)


def _ago(event: Event, now: float) -> float:
    return round(max(0.0, now - event.at), 3)


def _plain(value: Any) -> Any:
    """As JSON takes it; a number that it cannot write is null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, SeenError):
        return value.kind
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else type(value).__name__
