"""The inventory over HTTP: a public catalogue, reservations for the order service, restocks for operators."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.inventory.catalogue import Catalogue, Currency, Product, Sku
from services.inventory.metrics import InventoryMetrics
from services.inventory.refusals import refusal
from services.inventory.reservation import Outcome, Reservation, State, StockError
from services.inventory.restock import Restocking
from services.inventory.stock import Stock
from services.inventory.tables import Items
from shared.chassis.auth import called_by, operator
from shared.chassis.links import Link, links
from shared.chassis.problems import invalid, responses

RESERVATION_ID = r"^[a-z0-9_-]{1,64}$"

ReservationId = Annotated[str, StringConstraints(pattern=RESERVATION_ID)]
InPath = Annotated[str, Path(pattern=RESERVATION_ID)]
SkuInPath = Annotated[Sku, Path()]
Key = Annotated[str, Header(alias="Idempotency-Key", pattern=r"^[!-~]{1,128}$", description="one restock a key")]


class Body(BaseModel):
    """Requests are taken as they are meant: no unknown fields, no text or fraction for a whole number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Item(Body):
    """So many of one product."""

    sku: Sku
    quantity: int = Field(ge=1, le=1_000)


ItemList = Annotated[list[Item], Field(min_length=1, max_length=50, description="each sku at most once")]


class AvailabilityRequest(Body):
    """A would-be order."""

    currency: Currency
    items: ItemList


class QuotedItem(BaseModel):
    """An item with what is free of it now and its price in minor units."""

    sku: str
    quantity: int
    available: int
    unit_price: int
    sufficient: bool


class Availability(BaseModel):
    """Whether all the items could be held now."""

    available: bool
    currency: str
    items: list[QuotedItem]


class NewReservation(Body):
    """A hold to take; its id is the order's."""

    reservation_id: ReservationId
    items: ItemList
    ttl_seconds: int = Field(ge=1, le=3_600)


class ReservationBody(BaseModel):
    """A reservation; `expires_at` is null where nothing was ever held."""

    reservation_id: str
    state: State
    expires_at: datetime | None
    items: list[Item]


class ProductPage(BaseModel):
    """Products in the order of their skus; `next` is the `after` of the next page."""

    items: list[Product]
    next: str | None


class RestockRequest(Body):
    """A delivery."""

    quantity: int = Field(ge=1, le=1_000_000)


class Inventory:
    """What the routes work on."""

    def __init__(self, stock: Stock, catalogue: Catalogue, restocking: Restocking, metrics: InventoryMetrics) -> None:
        self.stock, self.catalogue, self.restocking, self.metrics = stock, catalogue, restocking, metrics

    def counted(self, result: tuple[Reservation, Outcome]) -> Reservation:
        """Count the outcome of a call on a reservation."""
        self.metrics.reservations.labels(result[1].value).inc()
        return result[0]

    @contextmanager
    def refusals(self, skus: Sequence[str] | None = None, *, count: bool = False) -> Iterator[None]:
        """Answer the errors of the inventory as problems, and count them when they are about reservations."""
        try:
            yield
        except StockError as error:
            problem = refusal(error, skus)
            if count:
                self.metrics.reservations.labels(problem.slug.replace("-", "_")).inc()
            raise problem from None


async def _inventory(request: Request) -> Inventory:
    inventory: Inventory = request.app.state.inventory
    return inventory


Parts = Annotated[Inventory, Depends(_inventory)]

catalogue = APIRouter(tags=["catalogue"])
reservations = APIRouter(
    tags=["reservations"],
    dependencies=[Depends(called_by("order"))],
    responses=responses((401, "A token of the order service is needed")),
)
operations = APIRouter(
    tags=["operators"],
    dependencies=[Depends(operator)],
    responses=responses((401, "The admin token is needed")),
)

_RESERVATION = {"reservation_id": "$response.body#/reservation_id"}
_OF_A_RESERVATION = links(*(Link(operation, _RESERVATION) for operation in ("get_reservation", "commit", "release")))
_OF_A_PAGE = links(
    Link("get_product", {"sku": "$response.body#/items/0/sku"}),
    Link("list_products", {"after": "$response.body#/next"}),
)


@catalogue.get("/products", operation_id="list_products", responses={200: _OF_A_PAGE})
async def list_products(
    parts: Parts,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[Sku | None, Query(description="the last sku of the page before")] = None,
) -> ProductPage:
    """The catalogue, page by page."""
    products, following = await parts.catalogue.page(limit, after)
    return ProductPage(items=products, next=following)


@catalogue.get("/products/{sku}", operation_id="get_product", responses=responses((404, "unknown-sku")))
async def get_product(sku: SkuInPath, parts: Parts) -> Product:
    """One product with its prices and what is free of it."""
    with parts.refusals():
        return await parts.catalogue.find(sku)


@reservations.post("/availability", responses=responses((422, "invalid-input, unknown-sku or unknown-currency")))
async def check_availability(body: AvailabilityRequest, parts: Parts) -> Availability:
    """What is free of each item, and its price. Nothing is held."""
    items = _by_sku(body.items)
    with parts.refusals(list(items)):
        quotes = await parts.catalogue.quote(items, body.currency)
    return Availability(
        available=all(quote.sufficient for quote in quotes),
        currency=body.currency,
        items=[QuotedItem(**asdict(quote), sufficient=quote.sufficient) for quote in quotes],
    )


@reservations.post(
    "/reservations",
    operation_id="reserve",
    status_code=201,
    responses={
        200: {"description": "Held or committed before", "model": ReservationBody, **_OF_A_RESERVATION},
        201: _OF_A_RESERVATION,
        **responses(
            (409, "insufficient-stock, reservation-conflict or reservation-released"),
            (422, "invalid-input or unknown-sku"),
        ),
    },
)
async def reserve(body: NewReservation, response: Response, parts: Parts) -> ReservationBody:
    """Hold all the items for a time, or none of them. An expired hold may be taken again."""
    items = _by_sku(body.items)
    with parts.refusals(list(items), count=True):
        result = await parts.stock.reserve(body.reservation_id, items, body.ttl_seconds)
    if result[1] is Outcome.REPEATED:
        response.status_code = 200
    return _shown(parts.counted(result))


@reservations.get(
    "/reservations/{reservation_id}",
    operation_id="get_reservation",
    responses={200: _OF_A_RESERVATION, **responses((404, "unknown-reservation"))},
)
async def get_reservation(reservation_id: InPath, parts: Parts) -> ReservationBody:
    """The reservation as it is now."""
    with parts.refusals():
        return _shown(await parts.stock.find(reservation_id))


@reservations.post(
    "/reservations/{reservation_id}/commit",
    operation_id="commit",
    responses={
        200: _OF_A_RESERVATION,
        **responses((404, "unknown-reservation"), (409, "hold-expired or reservation-released")),
    },
)
async def commit(reservation_id: InPath, parts: Parts) -> ReservationBody:
    """Turn the hold into a sale."""
    with parts.refusals(count=True):
        return _shown(parts.counted(await parts.stock.commit(reservation_id)))


@reservations.post("/reservations/{reservation_id}/release", operation_id="release", responses={200: _OF_A_RESERVATION})
async def release(reservation_id: InPath, parts: Parts) -> ReservationBody:
    """Give back what is held or sold. An id never seen is refused from now on."""
    return _shown(parts.counted(await parts.stock.release(reservation_id)))


@operations.post(
    "/products/{sku}/restock",
    responses=responses((404, "unknown-sku"), (422, "invalid-input or idempotency-key-reused")),
)
async def restock(sku: SkuInPath, body: RestockRequest, key: Key, parts: Parts) -> Product:
    """Add a delivery to the stock, once for each `Idempotency-Key`."""
    with parts.refusals():
        return await parts.restocking.add(key, sku, body.quantity)


def _by_sku(items: list[Item]) -> Items:
    wanted: dict[str, int] = {}
    for position, item in enumerate(items):
        if item.sku in wanted:
            # two lines for one product may be a mistake of the caller; only the caller knows whether to add them up
            raise invalid(f"items[{position}].sku", "listed before; each sku at most once")
        wanted[item.sku] = item.quantity
    return wanted


def _shown(reservation: Reservation) -> ReservationBody:
    expires_at = reservation.expires_at
    return ReservationBody(
        reservation_id=reservation.id,
        state=reservation.state,
        expires_at=None if expires_at is None else datetime.fromtimestamp(expires_at / 1000, UTC),
        items=[Item(sku=sku, quantity=quantity) for sku, quantity in reservation.items.items()],
    )
