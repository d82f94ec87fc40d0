"""The customer at the page: orders like those of `make load`, for whoever wants to see some."""

import asyncio
import secrets
from typing import Any

from services.control_room.page.log import OperatorsLog
from services.control_room.page.sources.orders import Orders
from services.control_room.page.web import Away
from shared.chassis.problems import Problem

_ORDERS_A_SECOND = 8.0
_ORDERS_AT_ONCE = 32
_SKUS = ("mug-enamel",)


class Customer:
    """Places orders for whoever stands at the page."""

    def __init__(self, orders: Orders, log: OperatorsLog) -> None:
        self._orders, self._log = orders, log
        self._sending: set[asyncio.Task[None]] = set()

    async def order(self, orders: int, card: str) -> dict[str, Any]:
        """Place them; a single one is waited for."""
        if orders == 1:
            try:
                return await self._place(card)
            except Away as away:
                raise Problem(503, "away", "No order was placed", str(away)) from None
        if self._sending:
            raise Problem(409, "busy", "Orders are being placed already")
        sending = asyncio.create_task(self._send(orders, card))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        await self._log.note(f"{orders} orders are placed")
        return {"placing": orders}

    async def close(self) -> None:
        """Place no more."""
        for sending in list(self._sending):
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _send(self, orders: int, card: str) -> None:
        # at a fixed rate, as customers come, whether or not the earlier ones are served
        under_way: set[asyncio.Task[None]] = set()
        try:
            for _ in range(orders):
                if len(under_way) < _ORDERS_AT_ONCE:
                    one = asyncio.create_task(self._quietly(card))
                    under_way.add(one)
                    one.add_done_callback(under_way.discard)
                await asyncio.sleep(1 / _ORDERS_A_SECOND)
            await asyncio.gather(*under_way)
        finally:
            for one in under_way:
                one.cancel()

    async def _quietly(self, card: str) -> None:
        try:
            await self._place(card)
        except Away:
            return  # the page shows what became of the platform

    async def _place(self, card: str) -> dict[str, Any]:
        body = {
            "customer": "control-room",
            "currency": "EUR",
            "items": [{"sku": secrets.choice(_SKUS), "quantity": 1}],
            "payment_method": {"type": "card", "number": card},
        }
        return await self._orders.place(f"page-{secrets.token_hex(8)}", body)
