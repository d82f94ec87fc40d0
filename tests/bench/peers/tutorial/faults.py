"""Faults on purpose in one of the tutorial's services, so that both stacks meet the same ones."""

import asyncio
import random
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel


class Fault(BaseModel):
    """Milliseconds that each call waits, and the share that is answered 503."""

    latency_ms: float = 0.0
    error_rate: float = 0.0


class Faults:
    """The fault in force, and how many calls came in: the amplification is counted here."""

    def __init__(self) -> None:
        self._fault = Fault()
        self._calls = 0
        self.router = APIRouter()
        self.router.put("/faults")(self._set)
        self.router.get("/faults")(self._count)

    async def _set(self, fault: Fault) -> Fault:
        self._fault = fault
        return fault

    async def _count(self) -> dict[str, int]:
        return {"calls": self._calls}

    async def strike(self) -> None:
        """Count a call and let the fault strike it."""
        self._calls += 1
        if self._fault.latency_ms:
            await asyncio.sleep(self._fault.latency_ms / 1000)
        if random.random() < self._fault.error_rate:
            raise HTTPException(503, "fault on purpose")


async def _strike(request: Request) -> None:
    await request.app.state.faults.strike()


Struck = Annotated[None, Depends(_strike)]
