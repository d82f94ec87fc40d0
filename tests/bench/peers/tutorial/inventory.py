"""The tutorial's inventory service: availability, holds, sales."""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import String, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.bench.peers.tutorial.database import Sessions, create_tables, make_engine
from tests.bench.peers.tutorial.faults import Struck
from tests.bench.peers.tutorial.service import make_app


class Base(DeclarativeBase):
    """The service's tables."""


class Product(Base):
    """A product and its stock."""

    __tablename__ = "products"
    sku: Mapped[str] = mapped_column(String(64), primary_key=True)
    price: Mapped[int]
    free: Mapped[int]
    held: Mapped[int] = mapped_column(default=0)
    sold: Mapped[int] = mapped_column(default=0)


class Reservation(Base):
    """Stock that is held for an order, or sold to it."""

    __tablename__ = "reservations"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    order_id: Mapped[str] = mapped_column(String(40), unique=True)
    sku: Mapped[str] = mapped_column(String(64))
    quantity: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))


class Item(BaseModel):
    """So many of a product."""

    sku: str
    quantity: int = Field(ge=1)


class Hold(Item):
    """A hold to take."""

    order_id: str


engine = make_engine(os.environ["DATABASE_URL"])
sessions = Sessions(engine)
Session = Annotated[AsyncSession, Depends(sessions)]


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Make the tables, and the products if there are none."""
    await create_tables(engine, Base)
    async for session in sessions():
        if await session.get(Product, "mug-enamel") is None:
            session.add(Product(sku="mug-enamel", price=1490, free=10_000_000))
            await session.commit()
    yield
    await engine.dispose()


app = make_app("inventory", engine, lifespan)


@app.post("/availability")
async def availability(item: Item, session: Session, _: Struck) -> dict[str, object]:
    """Price and stock of a product."""
    product = await session.get(Product, item.sku)
    if product is None:
        raise HTTPException(404, "no such product")
    return {"sku": item.sku, "price": product.price, "available": product.free >= item.quantity}


@app.post("/reservations", status_code=201)
async def reserve(hold: Hold, session: Session, _: Struck) -> dict[str, str]:
    """Hold stock for an order; the same hold again is the same hold."""
    known = await session.scalar(select(Reservation).where(Reservation.order_id == hold.order_id))
    if known is not None:
        return {"reservation_id": known.id, "state": known.state}
    await session.rollback()  # so that the transaction below begins by writing
    take = (
        update(Product)
        .where(Product.sku == hold.sku, Product.free >= hold.quantity)
        .values(free=Product.free - hold.quantity, held=Product.held + hold.quantity)
    )
    if (await session.execute(take)).rowcount != 1:
        raise HTTPException(409, "not enough stock")
    new = Reservation(id=str(uuid.uuid4()), order_id=hold.order_id, sku=hold.sku, quantity=hold.quantity, state="HELD")
    session.add(new)
    await session.commit()
    return {"reservation_id": new.id, "state": new.state}


@app.post("/reservations/{reservation_id}/commit")
async def commit(reservation_id: str, session: Session, _: Struck) -> dict[str, str]:
    """Turn a hold into a sale."""
    sell = (
        update(Reservation)
        .where(Reservation.id == reservation_id, Reservation.state == "HELD")
        .values(state="COMMITTED")
        .returning(Reservation.sku, Reservation.quantity)
    )
    row = (await session.execute(sell)).one_or_none()
    if row is None:
        known = await session.get(Reservation, reservation_id)
        if known is None:
            raise HTTPException(404, "no such reservation")
        return {"reservation_id": reservation_id, "state": known.state}
    await session.execute(
        update(Product)
        .where(Product.sku == row.sku)
        .values(held=Product.held - row.quantity, sold=Product.sold + row.quantity)
    )
    await session.commit()
    return {"reservation_id": reservation_id, "state": "COMMITTED"}


@app.post("/reservations/{reservation_id}/release")
async def release(reservation_id: str, session: Session, _: Struck) -> dict[str, str]:
    """Give a hold back."""
    give = (
        update(Reservation)
        .where(Reservation.id == reservation_id, Reservation.state == "HELD")
        .values(state="RELEASED")
        .returning(Reservation.sku, Reservation.quantity)
    )
    row = (await session.execute(give)).one_or_none()
    if row is not None:
        await session.execute(
            update(Product)
            .where(Product.sku == row.sku)
            .values(held=Product.held - row.quantity, free=Product.free + row.quantity)
        )
        await session.commit()
    return {"reservation_id": reservation_id, "state": "RELEASED"}
