"""The tutorial's order service: the whole path of an order in one function, as tutorials have it."""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Header, HTTPException, Response
from opentelemetry import trace
from pydantic import BaseModel, Field
from sqlalchemy import DateTime, String, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.bench.peers.tutorial.clients import UNAVAILABLE, Clients, Refused
from tests.bench.peers.tutorial.database import Sessions, create_tables, make_engine
from tests.bench.peers.tutorial.service import make_app

tracer = trace.get_tracer("tutorial.order")


class Base(DeclarativeBase):
    """The service's tables."""


class Order(Base):
    """An order."""

    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(String(128), unique=True)
    customer: Mapped[str] = mapped_column(String(64))
    currency: Mapped[str] = mapped_column(String(3))
    sku: Mapped[str] = mapped_column(String(64))
    quantity: Mapped[int]
    amount: Mapped[int]
    state: Mapped[str] = mapped_column(String(20))
    transaction_id: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Item(BaseModel):
    """So many of a product."""

    sku: str
    quantity: int = Field(ge=1, le=1000)


class Card(BaseModel):
    """A card."""

    type: Literal["card"]
    number: str = Field(pattern="^[0-9]{12,19}$")


class NewOrder(BaseModel):
    """An order of one product."""

    customer: str
    currency: str = Field(pattern="^[A-Z]{3}$")
    items: list[Item] = Field(min_length=1, max_length=1)
    payment_method: Card


class OrderAnswer(BaseModel):
    """An order as it is shown."""

    id: str
    state: str
    customer: str
    currency: str
    amount: int
    transaction_id: str | None


engine = make_engine(os.environ["DATABASE_URL"])
sessions = Sessions(engine)
Session = Annotated[AsyncSession, Depends(sessions)]
clients = Clients(os.environ.get("PAYMENT_URL", ""), os.environ.get("INVENTORY_URL", ""))


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Make the tables."""
    await create_tables(engine, Base)
    yield
    await clients.close()
    await engine.dispose()


app = make_app("order", engine, lifespan)


@app.post("/orders", status_code=201)
async def create_order(
    new: NewOrder, response: Response, session: Session, idempotency_key: Annotated[str, Header()]
) -> OrderAnswer:
    """Place an order."""
    with tracer.start_as_current_span("createOrder"):
        known = await session.scalar(select(Order).where(Order.idempotency_key == idempotency_key))
        if known is not None:
            return _shown(known)
        await session.rollback()  # so that the transaction below begins by writing
        order = await _placed(session, new, idempotency_key)
        if order.state == "PENDING_PAYMENT":
            response.status_code = 202
        return _shown(order)


async def _placed(session: AsyncSession, new: NewOrder, key: str) -> Order:
    item = new.items[0]
    try:
        with tracer.start_as_current_span("checkInventory"):
            quote = await clients.inventory("/availability", item.model_dump())
        if not quote["available"]:
            raise HTTPException(409, "not enough stock")
        order = Order(
            id=str(uuid.uuid4()),
            idempotency_key=key,
            customer=new.customer,
            currency=new.currency,
            sku=item.sku,
            quantity=item.quantity,
            amount=quote["price"] * item.quantity,
            state="PENDING",
            created_at=datetime.now(UTC),
        )
        session.add(order)
        await session.commit()
        with tracer.start_as_current_span("reserveInventory"):
            hold = await clients.inventory("/reservations", {"order_id": order.id, **item.model_dump()})
        order.state = "RESERVED"
        await session.commit()
        if await _paid(session, order, new.payment_method, hold["reservation_id"]):
            await clients.inventory(f"/reservations/{hold['reservation_id']}/commit")
            order.state = "CONFIRMED"
            await session.commit()
    except Refused as refused:
        raise HTTPException(refused.status, "refused") from None
    except UNAVAILABLE:
        raise HTTPException(503, "inventory unavailable", {"Retry-After": "1"}) from None
    return order


async def _paid(session: AsyncSession, order: Order, card: Card, hold: str) -> bool:
    charge = {"payment_key": order.id, "amount": order.amount, "currency": order.currency, "card": card.number}
    try:
        with tracer.start_as_current_span("processPayment"):
            order.transaction_id = (await clients.payment("/process", charge))["transaction_id"]
    except UNAVAILABLE:
        # the fallback; a queue for later is where tutorials end
        order.state = "PENDING_PAYMENT"
        await session.commit()
        return False
    except Refused:
        order.state = "DECLINED"
        await session.commit()
        with suppress(*UNAVAILABLE):
            await clients.inventory(f"/reservations/{hold}/release")
        raise
    order.state = "PAID"
    await session.commit()
    return True


def _shown(order: Order) -> OrderAnswer:
    return OrderAnswer.model_validate(order, from_attributes=True)
