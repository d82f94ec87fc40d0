"""For operators: what the pipelines of a replica do, and the switches to make them do something else for a while.

Each replica is switched by itself, over its own port. Nothing here outlives a restart.
"""

import logging
import sys
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from shared.chassis.auth import operator
from shared.chassis.problems import FieldError, Problem, invalid, responses
from shared.chassis.resilience_views import (
    BreakerView,
    BudgetView,
    FaultView,
    InstanceView,
    RegistryView,
    breaker_view,
    budget_view,
    fault_view,
    instance_view,
    registry_view,
)
from shared.resilience import CircuitBreaker, IllegalTransitionError, Pipeline, Registry, RetryBudget
from shared.resilience.errors import FaultRefused
from shared.resilience.faults import LONGEST_SECONDS, Fault, FaultSnapshot
from shared.resilience.settings import parse_duration
from shared.telemetry import remark

_LONGEST_WAIT_SECONDS = 3_600.0
_SHORTEST_SECONDS = 0.1


InstanceName = Annotated[str, Path(max_length=200, examples=["payment.process"])]
Events = Annotated[int, Query(ge=0, le=200, description="How many of the last events to show of each instance")]


class SwitchRequest(BaseModel):
    """Layers to turn on and off, for the calls that begin from now on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"layers": {"retry": False}}]})

    layers: dict[str, StrictBool] = Field(min_length=1, max_length=20)


class BudgetRequest(BaseModel):
    """Whether the budget refuses repeats, from now on."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enforced": False}]})

    enforced: StrictBool


class TransitionRequest(BaseModel):
    """The state to bring a breaker to. `wait` says how long it stays open; without it, as configured."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"to": "open", "wait": "5s"}]})

    to: Literal["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"]
    wait: str | None = Field(default=None, max_length=20)


class FaultRequest(BaseModel):
    """A fault for the attempts of an instance: latency first, then an error or a result in place of the call.

    latency, jitter: durations (`300ms`)
    error:           an exception class that the service knows (`httpx.ConnectError`)
    rate:            the share of attempts that suffer it
    seconds:         its time to live
    """

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        json_schema_extra={"examples": [{"latency": "300ms", "rate": 0.5, "seconds": 30}]},
    )

    latency: str | None = Field(default=None, max_length=20)
    jitter: str | None = Field(default=None, max_length=20)
    error: str | None = Field(default=None, max_length=200)
    result: Any = None
    rate: float | None = Field(default=None, gt=0, le=1)
    seconds: float = Field(ge=_SHORTEST_SECONDS, le=LONGEST_SECONDS)

    def fault(self) -> Fault:
        """The fault that is asked for. Raises a 422 that names the field."""
        # Naming a class imports its module; a request must not run what the service has not loaded itself.
        if self.error is not None and self.error.rpartition(".")[0] not in sys.modules:
            raise invalid("error", "not an exception class of a module that this service has loaded")
        given = self.model_dump(exclude_unset=True, exclude={"seconds"})
        # A result may be null, anything else that is null was left out.
        given = {name: value for name, value in given.items() if value is not None or name == "result"}
        try:
            return Fault.model_validate(given, context={"file": True})
        except ValidationError as error:
            problems = error.errors(include_input=False)
            errors = [FieldError(field=_field(each["loc"]), detail=_detail(each["msg"])) for each in problems]
            raise Problem(422, "invalid-input", "Invalid input", errors=errors) from None


class Cleared(BaseModel):
    """How many faults have ended."""

    cleared: int


def resilience_admin(registry: Registry, replica: str) -> APIRouter:
    """`/admin/resilience`, behind the admin token. `replica`: the name to show."""
    router = APIRouter(
        prefix="/admin/resilience",
        tags=["operators"],
        dependencies=[Depends(operator)],
        responses=responses((401, "The admin token is missing or wrong")),
    )
    _add_breakers(router, registry)
    _add_budgets(router, registry)
    _add_faults(router, registry)

    @router.get("")
    async def read_all(events: Events = 20) -> RegistryView:
        """Every pipeline of this replica: layers, breaker, numbers, budget, faults and what happened lately."""
        return registry_view(registry, replica, events)

    @router.get("/{instance}")
    async def read(instance: InstanceName, events: Events = 100) -> InstanceView:
        """One pipeline."""
        return instance_view(_pipeline(registry, instance), events)

    @router.patch("/{instance}")
    async def switch(instance: InstanceName, request: SwitchRequest) -> InstanceView:
        """Turn layers on or off. All of them are known, or none is switched."""
        pipeline = _pipeline(registry, instance)
        unknown = [layer for layer in request.layers if layer not in pipeline.layers]
        if unknown:
            detail = f"{pipeline.name} has no such layer, only: {', '.join(pipeline.layers)}"
            errors = [FieldError(field=f"layers.{layer[:100]}", detail=detail) for layer in unknown]
            raise Problem(422, "unknown-layer", "Unknown layer", errors=errors)
        for layer, enabled in request.layers.items():
            pipeline.switch(layer, enabled)
        remark("resilience layers switched", pipeline=pipeline.name, layers=request.layers)
        return instance_view(pipeline, 100)

    return router


def _add_breakers(router: APIRouter, registry: Registry) -> None:
    path = "/breakers/{name}"

    @router.get(path)
    async def read_breaker(name: InstanceName) -> BreakerView:
        """One circuit breaker, which several pipelines may share."""
        return breaker_view(_breaker(registry, name))

    @router.post(path, responses=responses((409, "The breaker cannot go there from where it is")))
    async def move_breaker(name: InstanceName, request: TransitionRequest) -> BreakerView:
        """Bring a breaker to a state; it goes on from there by itself unless forced, disabled or only measuring."""
        breaker = _breaker(registry, name)
        wait = _wait(request)
        try:
            if request.to == "open":
                breaker.transition_to_open(wait)
            else:
                getattr(breaker, f"transition_to_{request.to}")()
        except IllegalTransitionError as error:
            raise Problem(409, "illegal-transition", "Illegal transition", str(error)) from None
        remark("circuit breaker moved by hand", breaker=breaker.name, to=request.to, wait=wait)
        return breaker_view(breaker)

    @router.post(f"{path}/reset")
    async def reset_breaker(name: InstanceName) -> BreakerView:
        """Close a breaker and empty its window."""
        breaker = _breaker(registry, name)
        breaker.reset()
        remark("circuit breaker reset by hand", breaker=breaker.name)
        return breaker_view(breaker)


def _add_budgets(router: APIRouter, registry: Registry) -> None:
    path = "/budgets/{name}"

    @router.get(path)
    async def read_budget(name: InstanceName) -> BudgetView:
        """One retry budget, which several pipelines may share."""
        return budget_view(_budget(registry, name))

    @router.patch(path)
    async def switch_budget(name: InstanceName, request: BudgetRequest) -> BudgetView:
        """Let a budget refuse repeats, or only count them."""
        budget = _budget(registry, name)
        budget.enforced = request.enforced
        remark("retry budget switched", budget=budget.name, enforced=budget.enforced)
        return budget_view(budget)

    @router.post(f"{path}/refill")
    async def refill_budget(name: InstanceName) -> BudgetView:
        """Give a budget all of its tokens back."""
        budget = _budget(registry, name)
        budget.refill()
        remark("retry budget refilled by hand", budget=budget.name)
        return budget_view(budget)


def _add_faults(router: APIRouter, registry: Registry) -> None:
    path = "/{instance}/faults"

    @router.get(path)
    async def read_faults(instance: InstanceName) -> list[FaultView]:
        """The faults that act on this pipeline now."""
        return [fault_view(fault) for fault in _pipeline(registry, instance).faults.snapshot()]

    @router.post(path, status_code=201, responses=responses((409, "Faults are switched off, or there are too many")))
    async def inject_fault(instance: InstanceName, request: FaultRequest, response: Response) -> FaultView:
        """Make the attempts of this pipeline suffer a fault, which ends by itself."""
        pipeline = _pipeline(registry, instance)
        fault = request.fault()
        try:
            fault_id = pipeline.faults.inject(fault, seconds=request.seconds)
        except FaultRefused as error:
            raise Problem(409, "fault-refused", "Fault refused", str(error)) from None
        remark(
            "fault injected", level=logging.WARNING, pipeline=pipeline.name, fault=fault.what, seconds=request.seconds
        )
        response.headers["Location"] = f"/admin/resilience/{pipeline.name}/faults/{fault_id}"
        over = FaultSnapshot(fault_id, fault, 0.0, 0)  # a process that stood still has let its time pass
        return fault_view(next((each for each in pipeline.faults.snapshot() if each.id == fault_id), over))

    @router.delete(path)
    async def clear_faults(instance: InstanceName) -> Cleared:
        """End all faults of this pipeline."""
        return Cleared(cleared=_pipeline(registry, instance).faults.clear())

    @router.delete(f"{path}/{{fault}}")
    async def clear_fault(instance: InstanceName, fault: Annotated[str, Path(max_length=40)]) -> Cleared:
        """End one fault."""
        cleared = _pipeline(registry, instance).faults.clear(fault)
        if not cleared:
            raise Problem(404, "no-such-fault", "No such fault", "it has ended, or never was")
        return Cleared(cleared=cleared)


def _pipeline(registry: Registry, name: str) -> Pipeline:
    pipeline = registry.pipelines.get(name)
    if pipeline is None:
        raise Problem(404, "no-such-instance", "No such instance", f"known are {', '.join(registry.pipelines)}")
    return pipeline


def _breaker(registry: Registry, name: str) -> CircuitBreaker:
    breaker = registry.breakers.get(name)
    if breaker is None:
        raise Problem(404, "no-such-breaker", "No such breaker", f"known are {', '.join(registry.breakers)}")
    return breaker


def _budget(registry: Registry, name: str) -> RetryBudget:
    budget = registry.budgets.get(name)
    if budget is None:
        raise Problem(404, "no-such-budget", "No such budget", f"known are {', '.join(registry.budgets)}")
    return budget


def _wait(request: TransitionRequest) -> float | None:
    if request.wait is None:
        return None
    if request.to != "open":
        raise invalid("wait", "only an open breaker waits")
    try:
        seconds = parse_duration(request.wait)
    except ValueError as error:
        raise invalid("wait", str(error)) from None
    if not 0 < seconds <= _LONGEST_WAIT_SECONDS:
        raise invalid("wait", f"must be longer than nothing and at most {_LONGEST_WAIT_SECONDS:g} s")
    return seconds


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "body"


def _detail(message: str) -> str:
    return message.removeprefix("Value error, ")[:200]
