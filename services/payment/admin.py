"""For operators: how well the simulated card network works, and a switch to make it work worse for a while."""

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.payment.behaviour import Behaviour, BehaviourSwitch
from shared.chassis.auth import operator
from shared.chassis.problems import FieldError, Problem, responses

_LONGEST_SECONDS = 86_400


class SwitchRequest(BaseModel):
    """A behaviour to put in force: what is left out is as configured, so `{}` undoes a switch."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    latency_median_ms: float | None = Field(default=None, ge=0, le=60_000)
    latency_p99_ms: float | None = Field(default=None, ge=0, le=60_000)
    lost_requests: float | None = Field(default=None, ge=0, le=1, description="Share of calls that never arrive")
    lost_answers: float | None = Field(
        default=None, ge=0, le=1, description="Share of calls that take effect without an answer"
    )
    seconds: float | None = Field(
        default=None, gt=0, le=_LONGEST_SECONDS, description="Time to live; without it, until the next switch"
    )

    def behaviour(self, configured: Behaviour) -> Behaviour:
        """The behaviour asked for. Raises `ValidationError` when the values do not fit together."""
        asked = self.model_dump(exclude_none=True, exclude={"seconds"})
        return Behaviour.model_validate(configured.model_dump() | asked)


class BehaviourAnswer(BaseModel):
    """The behaviour of the card network as this replica sees it."""

    instance: str
    current: Behaviour
    configured: Behaviour
    reverts_in_seconds: float | None = Field(description="null when no end is set")


def admin_router(switch: BehaviourSwitch, instance: str) -> APIRouter:
    """Read and switch the behaviour of the card network of this replica."""
    router = APIRouter(
        prefix="/admin",
        tags=["operators"],
        dependencies=[Depends(operator)],
        responses=responses((401, "The admin token is missing or wrong")),
    )

    def answer() -> BehaviourAnswer:
        return BehaviourAnswer(
            instance=instance,
            current=switch.current(),
            configured=switch.configured,
            reverts_in_seconds=switch.reverts_in_seconds(),
        )

    @router.get("/card-network")
    async def read() -> BehaviourAnswer:
        """How the card network behaves now, for calls of this replica."""
        return answer()

    @router.put("/card-network")
    async def put(request: SwitchRequest) -> BehaviourAnswer:
        """Switch how the card network behaves for calls of this replica. Each replica is switched by itself."""
        try:
            switch.switch(request.behaviour(switch.configured), request.seconds)
        except ValidationError as error:
            errors = [FieldError(field="body", detail=problem["msg"]) for problem in error.errors(include_input=False)]
            raise Problem(422, "invalid-input", "Invalid input", errors=errors) from None
        return answer()

    return router
