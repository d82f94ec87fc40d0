"""The tutorial's payment service: charges a card, once a key."""

import asyncio
import math
import os
import random
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

DECLINED = "4000000000000002"
_MEDIAN_SECONDS, _SIGMA = 0.004, math.log(5) / 2.326
"""The card network's latency, as ours: log-normal, 4 ms in the median and 20 ms at the 99th percentile."""


class Base(DeclarativeBase):
    """The service's tables."""


class Payment(Base):
    """A payment."""

    __tablename__ = "payments"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    payment_key: Mapped[str] = mapped_column(String(40), unique=True)
    amount: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))
    card_last4: Mapped[str] = mapped_column(String(4))
    state: Mapped[str] = mapped_column(String(16))


class LedgerEntry(Base):
    """What was captured."""

    __tablename__ = "ledger"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    transaction_id: Mapped[str] = mapped_column(String(40), unique=True)
    amount: Mapped[int]
    currency: Mapped[str] = mapped_column(String(3))


class Charge(BaseModel):
    """A charge."""

    payment_key: str
    amount: int = Field(ge=1)
    currency: str
    card: str


engine = make_engine(os.environ["DATABASE_URL"])
sessions = Sessions(engine)
Session = Annotated[AsyncSession, Depends(sessions)]


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Make the tables."""
    await create_tables(engine, Base)
    yield
    await engine.dispose()


app = make_app("payment", engine, lifespan)


@app.post("/process")
async def process(charge: Charge, session: Session, _: Struck) -> dict[str, str]:
    """Charge a card; the same key again gets the same answer."""
    payment = await session.scalar(select(Payment).where(Payment.payment_key == charge.payment_key))
    if payment is None:
        await session.rollback()  # so that the transaction below begins by writing
        payment = Payment(
            id=str(uuid.uuid4()),
            payment_key=charge.payment_key,
            amount=charge.amount,
            currency=charge.currency,
            card_last4=charge.card[-4:],
            state="PROCESSING",
        )
        session.add(payment)
        await session.commit()
    if payment.state == "PROCESSING":
        payment.state = await _ask_network(charge.card)
        settle = update(Payment).where(Payment.id == payment.id, Payment.state == "PROCESSING")
        await session.execute(settle.values(state=payment.state))
        if payment.state == "CAPTURED":
            session.add(LedgerEntry(transaction_id=payment.id, amount=charge.amount, currency=charge.currency))
        await session.commit()
    if payment.state == "DECLINED":
        raise HTTPException(402, "card declined")
    return {"transaction_id": payment.id, "status": payment.state}


async def _ask_network(card: str) -> str:
    await asyncio.sleep(_MEDIAN_SECONDS * math.exp(_SIGMA * random.gauss(0.0, 1.0)))
    return "DECLINED" if card == DECLINED else "CAPTURED"
