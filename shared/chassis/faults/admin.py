"""For operators: break this replica for a while. Each replica is asked by itself, over its own port."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Response
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.chassis.auth import operator
from shared.chassis.faults.active import Active, Refused
from shared.chassis.faults.registry import Faults
from shared.chassis.faults.requests import KINDS, FaultRequest, schema
from shared.chassis.problems import FieldError, Problem, invalid, responses

_EXAMPLE = {"kind": "http", "path": "/process", "latency_ms": 300, "rate": 0.5, "seconds": 20}
_MOST_ERRORS = 20


class FaultView(BaseModel):
    """A fault that was begun: what was asked for, the seconds that remain, and how often it has struck."""

    model_config = ConfigDict(extra="allow")

    id: str
    kind: str
    seconds_left: float
    struck: int


class FaultsView(BaseModel):
    """The faults of one replica that act now."""

    instance: str
    faults: list[FaultView]


class Cleared(BaseModel):
    """How many faults have ended."""

    cleared: int


def faults_admin(faults: Faults, instance: str) -> APIRouter:
    """`/admin/faults`, behind the admin token. `instance`: the replica's name to show."""
    router = APIRouter(
        prefix="/admin/faults",
        tags=["operators"],
        dependencies=[Depends(operator)],
        responses=responses((401, "The admin token is missing or wrong")),
    )
    body = {"required": True, "content": {"application/json": {"schema": schema(), "example": _EXAMPLE}}}

    @router.post(
        "",
        status_code=201,
        responses=responses((409, "There are too many faults")),
        openapi_extra={"requestBody": body},
    )
    async def inject(request: Annotated[dict[str, Any], Body()], response: Response) -> FaultView:
        """Begin a fault, which ends by itself after `seconds`."""
        try:
            fault = faults.inject(_request(request))
        except Refused as error:
            if error.field:
                raise invalid(error.field, str(error)) from None
            raise Problem(409, "fault-refused", "Fault refused", str(error)) from None
        response.headers["Location"] = f"/admin/faults/{fault.id}"
        return _view(fault)

    @router.get("")
    async def read() -> FaultsView:
        """What acts now."""
        return FaultsView(instance=instance, faults=[_view(fault) for fault in faults.active()])

    @router.delete("")
    async def clear_all() -> Cleared:
        """End all faults."""
        return Cleared(cleared=faults.clear())

    @router.delete("/{fault}")
    async def clear(fault: Annotated[str, Path(max_length=40)]) -> Cleared:
        """End one fault; 0 when it is over already."""
        return Cleared(cleared=faults.clear(fault))

    return router


def _request(body: dict[str, Any]) -> FaultRequest:
    kind = body.get("kind")
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise invalid("kind", f"one of {', '.join(KINDS)}")
    try:
        return model.model_validate(body)
    except ValidationError as error:
        problems = error.errors(include_input=False)[:_MOST_ERRORS]
        errors = [FieldError(field=_field(each["loc"]), detail=_detail(each["msg"])) for each in problems]
        raise Problem(422, "invalid-input", "Invalid input", errors=errors) from None


def _view(fault: Active[Any]) -> FaultView:
    told = fault.request.model_dump(exclude_none=True, exclude={"kind"})
    return FaultView(
        id=fault.id, kind=fault.request.kind, seconds_left=round(fault.left, 3), struck=fault.struck, **told
    )


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)[:200] or "body"


def _detail(message: str) -> str:
    return message.removeprefix("Value error, ")[:200]
