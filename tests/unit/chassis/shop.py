"""A small service, built through `build_app`, that misbehaves on demand."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from shared.chassis.admission import Priority
from shared.chassis.app import Chassis, build_app
from shared.chassis.auth import called_by, operator
from shared.chassis.database import DatabaseUnavailable
from shared.chassis.problems import Problem, invalid
from shared.chassis.settings import ServiceSettings
from shared.resilience import DeadlineExceeded, remaining

ADMIN_TOKEN = "an-admin-token-of-the-shop"
EDGE_KEY = "k" * 40
ENVIRONMENT = "from shared.chassis import migration_env\n\nmigration_env.run()\n"
REVISION = 'from alembic import op\n\nrevision, down_revision = "0001", None\n\n\ndef upgrade():\n    pass\n'


class ShopSettings(ServiceSettings):
    service: str = "shop"
    order_to_shop_key: SecretStr = SecretStr(EDGE_KEY)


class Line(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sku: str = Field(min_length=1, max_length=32)
    quantity: int = Field(ge=1, le=99)
    weight: float | None = None


class Basket(BaseModel):
    model_config = ConfigDict(extra="forbid")
    customer: str
    items: list[Line] = Field(min_length=1, max_length=20)
    notes: dict[str, str] = {}


class Shop:
    """The application and the strings to pull."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        versions = directory / "migrations" / "versions"
        versions.mkdir(parents=True, exist_ok=True)
        (versions.parent / "env.py").write_text(ENVIRONMENT)
        (versions / "0001_first.py").write_text(REVISION)
        self.settings = ShopSettings(
            database_url=f"sqlite+aiosqlite:///{directory}/shop.sqlite", admin_token=ADMIN_TOKEN, **settings
        )
        self.chassis = Chassis(self.settings, version="1.2.3", migrations=versions.parent, title="Shop")
        self.entered, self.leave, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.behave: Callable[[], Awaitable[Any]] = self.wait
        self.opened = False
        self.app: FastAPI = build_app(
            self.chassis,
            routers=[self._routes()],
            resources=self._resources,
            priorities={"POST /baskets": Priority.NEW},
        )

    async def wait(self) -> dict[str, float | None]:
        """Stay in the handler until told to leave."""
        self.entered.set()
        try:
            await self.leave.wait()
        finally:
            self.ended.set()
        return {"remaining": remaining()}

    @asynccontextmanager
    async def _resources(self) -> AsyncIterator[None]:
        self.opened = True
        yield
        self.opened = False

    def _routes(self) -> APIRouter:
        router = APIRouter()

        @router.post("/baskets", status_code=201)
        async def order(basket: Basket) -> Basket:
            return basket

        @router.get("/items/{item_id}")
        async def item(
            item_id: int,
            limit: Annotated[int, Query(ge=1)] = 10,
            idempotency_key: Annotated[str | None, Header(max_length=8)] = None,
        ) -> dict[str, Any]:
            return {"id": item_id, "limit": limit, "key": idempotency_key, "remaining": remaining()}

        @router.get("/names/{name:path}")
        async def name(name: str, q: str = "") -> dict[str, str]:
            return {"name": name, "q": q}

        @router.get("/anything")
        @router.post("/anything")
        async def anything() -> Any:
            return await self.behave()

        @router.post("/upload")
        async def upload(request: Request) -> dict[str, int]:
            return {"bytes": len(await request.body())}

        @router.get("/stream")
        async def stream() -> StreamingResponse:
            async def chunks() -> AsyncIterator[bytes]:
                yield b"one"
                await self.behave()
                yield b"two"

            return StreamingResponse(chunks())

        @router.get("/for-order", dependencies=[Depends(called_by("order"))])
        async def for_order() -> dict[str, str]:
            return {"hello": "order"}

        @router.get("/for-operator", dependencies=[Depends(operator)])
        async def for_operator() -> dict[str, str]:
            return {"hello": "operator"}

        return router


def failing(error: BaseException) -> Callable[[], Awaitable[Any]]:
    """A behaviour: raise this."""

    async def behave() -> Any:
        raise error

    return behave


ERRORS: dict[str, tuple[BaseException, int, str]] = {
    "problem": (Problem(409, "sold-out", "Sold out", "nothing left", items=["a"]), 409, "sold-out"),
    "surrogate": (Problem(409, "sold-out", "Sold \ud800 out", "\udfff", items={"\ud800": 10**40}), 409, "sold-out"),
    "field": (invalid("items[1].sku", "unknown \ud800"), 422, "invalid-input"),
    "http": (HTTPException(418, "short and stout"), 418, "i'm-a-teapot"),
    "odd status": (HTTPException(499), 499, "error"),
    "database": (DatabaseUnavailable("password=hunter2"), 503, "database-unavailable"),
    "deadline": (DeadlineExceeded("x", attempted=True), 504, "deadline-exceeded"),
    "defect": (LookupError("password=hunter2"), 500, "internal-error"),
    "timeout of another": (TimeoutError("password=hunter2"), 500, "internal-error"),
    "group of a problem": (ExceptionGroup("g", [Problem(409, "sold-out", "Sold out")]), 409, "sold-out"),
    "group of a group": (
        ExceptionGroup("g", [ExceptionGroup("g", [DatabaseUnavailable("x")])]), 503, "database-unavailable",
    ),
    "group of problems": (
        ExceptionGroup("g", [Problem(409, "sold-out", "Sold out"), Problem(402, "poor", "Poor")]), 409, "sold-out",
    ),
    "mixed group": (
        ExceptionGroup("g", [Problem(409, "sold-out", "Sold out"), LookupError("password=hunter2")]), 500,
        "internal-error",
    ),
}  # fmt: skip
