"""The routes that change something: each needs a session and a request of the page's own script."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from services.control_room.page.commands import Busy
from services.control_room.page.gate import operator
from services.control_room.page.room import Room
from services.control_room.page.sources.names import Replica
from services.control_room.page.web import Away
from services.control_room.page.words import add_words
from shared.chassis.problems import Problem, responses

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
_MOST_ORDERS = 480
_CARDS = {"good": "4242424242424242", "declined": "4000000000000002"}


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DrillRequest(_Request):
    """A fault of the list, for so many seconds."""

    seconds: float = Field(default=30, ge=1, le=600)


class FaultRequest(_Request):
    """Any fault, for all replicas of a service or for one: what `POST /admin/faults` takes."""

    target: str = Field(max_length=64)
    fault: dict[str, Any]


class SwitchRequest(_Request):
    """A layer of a pipeline, on or off, in every order replica."""

    layer: str = Field(max_length=40)
    enabled: bool


class TransitionRequest(_Request):
    """Where to bring a breaker, in every order replica."""

    to: Literal["closed", "open", "half_open", "forced_open", "disabled", "metrics_only", "reset"]


class OrdersRequest(_Request):
    """So many orders, eight a second."""

    orders: int = Field(default=1, ge=1, le=_MOST_ORDERS)
    card: Literal["good", "declined"] = "good"


class ScenarioRequest(_Request):
    """Which experiment."""

    scenario: str = Field(pattern=r"^[a-z0-9-]{1,64}$")


def deeds(room: Room) -> APIRouter:
    """All of them, under `/deeds`."""
    router = APIRouter(
        prefix="/deeds",
        tags=["levers"],
        dependencies=[Depends(operator)],
        responses=responses((401, "Not logged in"), (403, "Not sent by this page")),
    )
    levers = Levers(room)
    _add_faults(router, levers)
    _add_resilience(router, levers)
    _add_commands(router, room)
    add_words(router, room)

    @router.post("/orders", status_code=202)
    async def place(request: OrdersRequest) -> dict[str, Any]:
        """Place orders: one is waited for, more are sent in the background, eight a second."""
        return await room.customer.order(request.orders, _CARDS[request.card])

    return router


class Levers:
    """Does the same to several replicas, and writes down what was done."""

    def __init__(self, room: Room) -> None:
        self.room = room

    async def do(
        self, replicas: Sequence[Replica], method: str, path: str, body: Any = None, *, deed: str
    ) -> dict[str, Any]:
        """Ask all of them at once. When none of them does it, the first one's refusal is passed on."""
        if not replicas:
            raise Problem(404, "no-such-replica", "No such replica", "no replica of that name is known")
        outcomes = await asyncio.gather(*(self._one(each, method, path, body) for each in replicas))
        failed = {each.name: said for each, said in zip(replicas, outcomes, strict=True) if said}
        if len(failed) == len(replicas):
            name, said = next(iter(failed.items()))
            raise Problem(502, "refused", "It was refused", f"{name}: {said}")
        await self.room.log.note(deed + (f" (not: {', '.join(failed)})" if failed else ""))
        self.room.sampler.hurry("levers", "log", "replicas")
        return {"done": [each.name for each in replicas if each.name not in failed], "failed": failed}

    async def _one(self, replica: Replica, method: str, path: str, body: Any) -> str:
        try:
            status, answer = await self.room.web.ask(
                method, f"{replica.url}{path}", json=body, admin=True, host=replica.host
            )
        except Away as away:
            return str(away)
        if status < 400:
            return ""
        told = answer if isinstance(answer, dict) else {}
        errors = "; ".join(f"{each['field']}: {each['detail']}" for each in told.get("errors", ()))
        return errors or told.get("detail") or told.get("title") or f"HTTP {status}"

    async def targets(self, *names: str) -> list[Replica]:
        """The replicas of these names, or of the services of these names. Raises a 503 when nobody knows any."""
        try:
            known = self.room.replicas.known or await self.room.replicas.find()
        except Away as away:
            raise Problem(503, "away", "Not to be had", str(away)) from None
        return [each for each in known if each.name in names or each.service in names]


def _add_faults(router: APIRouter, levers: Levers) -> None:
    @router.post("/drills/{name}", status_code=201)
    async def begin(name: Name, request: DrillRequest) -> dict[str, Any]:
        """Begin a fault of the list in every replica of its service."""
        drill = levers.room.drills.get(name)
        if drill is None:
            raise Problem(404, "no-such-drill", "No such drill")
        fault = drill.fault | {"seconds": request.seconds, "experiment": f"drill/{name}"}
        deed = f"{drill.title}: begun for {request.seconds:g} s"
        return await levers.do(await levers.targets(drill.service), "POST", "/admin/faults", fault, deed=deed)

    @router.post("/faults", status_code=201)
    async def inject(request: FaultRequest) -> dict[str, Any]:
        """Begin any fault."""
        deed = f"fault {request.fault.get('kind')} in {request.target}: begun"
        return await levers.do(await levers.targets(request.target), "POST", "/admin/faults", request.fault, deed=deed)

    @router.delete("/faults/{replica}/{fault}")
    async def end(replica: Name, fault: Name) -> dict[str, Any]:
        """End one fault."""
        deed = f"fault {fault} in {replica}: ended"
        return await levers.do(await levers.targets(replica), "DELETE", f"/admin/faults/{fault}", deed=deed)

    @router.delete("/faults")
    async def end_all() -> dict[str, Any]:
        """End every fault inside the services."""
        replicas = await levers.targets("order", "payment", "inventory")
        return await levers.do(replicas, "DELETE", "/admin/faults", deed="every fault in the services: ended")


def _add_resilience(router: APIRouter, levers: Levers) -> None:
    @router.post("/pipelines/{name}")
    async def switch(name: Name, request: SwitchRequest) -> dict[str, Any]:
        """Turn a layer on or off."""
        deed = f"{name}: {request.layer} {'on' if request.enabled else 'off'}"
        body = {"layers": {request.layer: request.enabled}}
        return await levers.do(await levers.targets("order"), "PATCH", f"/admin/resilience/{name}", body, deed=deed)

    @router.post("/breakers/{name}")
    async def move(name: Name, request: TransitionRequest) -> dict[str, Any]:
        """Bring a breaker to a state, or reset it."""
        path, body = f"/admin/resilience/breakers/{name}", {"to": request.to}
        if request.to == "reset":
            path, body = f"{path}/reset", {}
        deed = f"breaker {name}: {request.to}"
        return await levers.do(await levers.targets("order"), "POST", path, body, deed=deed)


def _add_commands(router: APIRouter, room: Room) -> None:
    @router.post("/audit", status_code=202)
    async def audit() -> Response:
        """Read the books: the verdict appears in the view."""
        return await _begun(room, room.auditor.start, "the auditor was called")

    @router.post("/experiments", status_code=202)
    async def begin(request: ScenarioRequest) -> Response:
        """Begin an experiment."""
        try:
            known = {each["name"] for each in await room.experiments.scenarios()}
        except Away as away:
            raise Problem(503, "away", "Not to be had", str(away)) from None
        if request.scenario not in known:
            raise Problem(404, "no-such-scenario", "No such scenario")
        deed = f"experiment {request.scenario}: begun"
        return await _begun(room, lambda: room.runner.start(request.scenario), deed)

    @router.delete("/experiments", status_code=202)
    async def stop() -> Response:
        """Stop the experiment that runs, and end every fault everywhere."""
        return await _begun(room, room.runner.stop, "the experiment and every fault: being stopped")


async def _begun(room: Room, start: Any, deed: str) -> Response:
    try:
        start()
    except Away as away:
        raise Problem(503, "away", "Not to be had", str(away)) from None
    except Busy as busy:
        raise Problem(409, "busy", "Not now", str(busy)) from None
    await room.log.note(deed)
    room.sampler.hurry("log", "audit", "experiments")
    return Response(status_code=202)
