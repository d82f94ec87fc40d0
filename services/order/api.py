"""The order API."""

from datetime import UTC, datetime
from typing import Annotated

import httpx
from fastapi import APIRouter, Header, Path, Query, Request, Response

from services.order import error_budget
from services.order.answers import instant, render, view
from services.order.error_budget import ErrorBudget
from services.order.models import ORDER_ID, NewOrder, OrderPage, OrderView, OrderWithHistory, StepView
from services.order.orders import Order, Superseded
from services.order.service import Service
from services.order.states import State
from shared.chassis.links import Link, links
from shared.chassis.problems import Problem, responses
from shared.resilience import deadline
from shared.telemetry import operation

router = APIRouter()

IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        description="One order a key; repeating a request with its key is safe and answered the same",
        pattern=r"^[A-Za-z0-9_.:-]{1,128}$",
    ),
]
OrderId = Annotated[str, Path(pattern=ORDER_ID)]

_CANCELLABLE = frozenset((State.CONFIRMED, State.PENDING_PAYMENT))
_ENDED_OTHERWISE = frozenset((State.DECLINED, State.REJECTED, State.FAILED))


def _about(order_id: str) -> tuple[Link, Link]:
    """What may be asked of an order whose id is there."""
    return Link("get_order", {"order_id": order_id}), Link("cancel_order", {"order_id": order_id})


_PLACED = links(*_about("$response.body#/id"), Link("list_orders", {"before": "$response.body#/id"}))
_LISTED = links(*_about("$response.body#/items/0/id"), Link("list_orders", {"before": "$response.body#/next"}))
_SHOWN = links(*_about("$response.body#/id"))


@router.post(
    "/orders",
    operation_id="create_order",
    status_code=201,
    response_model=OrderView,
    responses={
        201: _PLACED,
        202: {
            "description": "Accepted; the payment is queued and the order settles by itself",
            "model": OrderView,
            **_PLACED,
        },
        **responses(
            (402, "The card was declined; the stock is free again"),
            (409, "Not enough stock, nothing is charged; or the same request is under way"),
            (503, "Inventory is unavailable or the load too high; nothing is charged, try again with the same key"),
        ),
    },
    tags=["orders"],
)
async def create_order(request: Request, wanted: NewOrder, idempotency_key: IdempotencyKey) -> Response:
    """Place an order: check and hold the stock, charge the card, confirm."""
    service: Service = request.app.state.service
    with operation(service.tracer, "createOrder"), deadline(service.settings.order_seconds):
        order, answer, replayed = await service.doorkeeper.call(service.placing.place, idempotency_key, wanted)
        service.metrics.answers.labels(str(answer["status"])).inc()
        return render(order, answer, replayed=replayed)


@router.get("/orders", operation_id="list_orders", responses={200: _LISTED}, tags=["orders"])
async def list_orders(
    request: Request,
    state: Annotated[State | None, Query(description="Only orders in this state")] = None,
    before: Annotated[str | None, Query(description="`next` of the page before", pattern=ORDER_ID)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> OrderPage:
    """Orders, newest first."""
    service: Service = request.app.state.service
    page = await service.orders.page(state, before, limit)
    return OrderPage(items=[view(order) for order in page], next=page[-1].id if len(page) == limit else None)


@router.get("/orders/{order_id}", operation_id="get_order", responses={200: _SHOWN}, tags=["orders"])
async def get_order(request: Request, order_id: OrderId) -> OrderWithHistory:
    """An order with the history of its steps."""
    service: Service = request.app.state.service
    return await _with_history(service, await _existing(service, order_id))


@router.post(
    "/orders/{order_id}/cancel",
    operation_id="cancel_order",
    responses={
        200: _SHOWN,
        202: {
            "description": "Being cancelled: money and stock are on their way back",
            "model": OrderWithHistory,
            **_SHOWN,
        },
        **responses((409, "The order ended otherwise, or is just being worked on; see Retry-After")),
    },
    tags=["orders"],
)
async def cancel_order(request: Request, response: Response, order_id: OrderId) -> OrderWithHistory:
    """Cancel an order: what was charged is refunded, what was held or sold returns to the stock."""
    service: Service = request.app.state.service
    order = await _existing(service, order_id)
    if order.state in _ENDED_OTHERWISE:
        raise Problem(409, "not-cancellable", "Nothing to cancel", f"the order is {order.state}")
    if order.state in _CANCELLABLE:
        try:
            order = await service.checkout.cancel(order, "cancelled by the customer")
        except Superseded:
            raise _under_way() from None
    elif order.state not in (State.CANCELLING, State.CANCELLED):
        raise _under_way()
    response.status_code = 200 if order.is_final else 202
    return await _with_history(service, order)


@router.get("/error-budget", tags=["operations"])
async def get_error_budget(request: Request) -> ErrorBudget:
    """Objectives, error budget left, and what to do: HEALTHY, WARNING or CRITICAL."""
    service: Service = request.app.state.service
    url, chassis = service.settings.prometheus_url, request.app.state.chassis
    since = datetime.fromtimestamp(chassis.started_at, UTC).isoformat(timespec="seconds")
    own = f"this replica ({service.settings.instance}) since {since}"
    if not url:
        traffic = error_budget.from_registry(chassis.metrics)
        return error_budget.check_error_budget(traffic, "no Prometheus is configured", own)
    try:
        traffic = await error_budget.from_prometheus(service.http, url)
    except (httpx.HTTPError, ValueError) as error:
        traffic = error_budget.from_registry(chassis.metrics)
        return error_budget.check_error_budget(traffic, f"Prometheus does not answer ({type(error).__name__})", own)
    return error_budget.check_error_budget(traffic, "Prometheus", error_budget.WINDOW)


async def _existing(service: Service, order_id: str) -> Order:
    order = await service.orders.get(order_id)
    if order is None:
        raise Problem(404, "no-such-order", "No such order")
    return order


async def _with_history(service: Service, order: Order) -> OrderWithHistory:
    history = [
        StepView(seq=step.seq, state=step.state, at=instant(step.at), detail=step.detail)
        for step in await service.orders.history(order.id)
    ]
    return OrderWithHistory(**view(order).model_dump(), updated_at=instant(order.updated_at), history=history)


def _under_way() -> Problem:
    return Problem(409, "order-in-progress", "The order is being worked on", headers={"Retry-After": "1"})
