"""The inventory service as the order service sees it: prices and availability, holds, sales, returns."""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from services.order.downstream import Answer, ServiceClient
from shared.chassis.problems import FieldError
from shared.resilience import Registry, current_attempt

_CACHED_SECONDS = 0.25
_CACHED_PRODUCTS = 1_024

Basket = Sequence[Mapping[str, Any]]
"""`{"sku", "quantity"}` for each item, each sku once."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What a basket costs now, and whether there is stock for it.

    unit_prices: by sku, in the currency's minor unit
    shortages: availability lines (`sku`, `quantity`, `available`, ...) of what is short
    """

    unit_prices: Mapping[str, int]
    shortages: Sequence[Mapping[str, Any]]


class BasketRefused(Exception):
    """The basket names something that the catalogue does not have; `errors` say which field."""

    def __init__(self, slug: str, errors: list[FieldError]) -> None:
        super().__init__(slug)
        self.slug, self.errors = slug, errors


class HoldRefused(Exception):
    """Not enough stock; `shortages` say of what, `attempt` which attempt was told so (1 is the first)."""

    def __init__(self, shortages: Sequence[Mapping[str, Any]], attempt: int = 1) -> None:
        super().__init__("insufficient stock")
        self.shortages, self.attempt = shortages, attempt


class HoldGone(Exception):
    """The hold has expired, or was never there: it can be taken again, or not."""


class InventoryServiceClient:
    """Reads are hedged and may come from a cache a quarter of a second old; writes are keyed by the order's id."""

    def __init__(self, service: ServiceClient, registry: Registry) -> None:
        self._service = service
        self._reads = registry.pipeline("inventory.availability")
        self._writes = registry.pipeline("inventory.reservations")
        self._cache: OrderedDict[tuple[str, str], tuple[float, Mapping[str, Any]]] = OrderedDict()

    def remembered(self, basket: Basket, currency: str) -> Quote | None:
        """Prices, where all of the basket was asked for a moment ago and there was stock for it."""
        lines = self._from_cache(basket, currency)
        return None if lines is None else _quote(lines)

    async def quote(self, basket: Basket, currency: str) -> Quote:
        """Prices and shortages, as they are now. Raises `BasketRefused`, or one of `UNAVAILABLE`."""
        return _quote(await self._reads.call(self._availability, basket, currency, idempotent=True))

    async def reserve(self, order_id: str, basket: Basket, ttl_seconds: int) -> None:
        """Hold the stock for `ttl_seconds`. Raises `HoldRefused`, or one of `UNAVAILABLE`."""
        await self._writes.call(self._reserve, order_id, basket, ttl_seconds, idempotent=True)

    async def commit(self, order_id: str) -> None:
        """Turn the hold into a sale. Raises `HoldGone`, or one of `UNAVAILABLE`."""
        await self._writes.call(self._commit, order_id, idempotent=True)

    async def release(self, order_id: str) -> None:
        """Give the stock back, held or sold, and refuse a reservation still on its way."""
        await self._writes.call(self._release, order_id, idempotent=True)

    async def _availability(self, basket: Basket, currency: str) -> Sequence[Mapping[str, Any]]:
        items = [{"sku": item["sku"], "quantity": item["quantity"]} for item in basket]
        answer = await self._service.call("POST", "/availability", {"currency": currency, "items": items}, new=True)
        if answer.status == 422:
            raise BasketRefused(answer.slug, [FieldError(**error) for error in answer.body.get("errors", [])])
        if answer.status != 200:
            raise self._service.refused(answer)
        lines: Sequence[Mapping[str, Any]] = answer.body["items"]
        self._remember(currency, lines)
        return lines

    async def _reserve(self, order_id: str, basket: Basket, ttl_seconds: int) -> None:
        items = [{"sku": item["sku"], "quantity": item["quantity"]} for item in basket]
        body = {"reservation_id": order_id, "items": items, "ttl_seconds": ttl_seconds}
        answer = await self._service.call("POST", "/reservations", body)
        if answer.slug == "insufficient-stock":
            short = [line for line in answer.body.get("items", []) if not line.get("sufficient")]
            raise HoldRefused(short, current_attempt())
        self._expect(answer, 200, 201)

    async def _commit(self, order_id: str) -> None:
        answer = await self._service.call("POST", f"/reservations/{quote(order_id)}/commit")
        if answer.slug == "hold-expired" or answer.status == 404:
            raise HoldGone(order_id)
        self._expect(answer, 200)

    async def _release(self, order_id: str) -> None:
        self._expect(await self._service.call("POST", f"/reservations/{quote(order_id)}/release"), 200)

    def _expect(self, answer: Answer, *statuses: int) -> None:
        if answer.status not in statuses:
            raise self._service.refused(answer)

    def _from_cache(self, basket: Basket, currency: str) -> Sequence[Mapping[str, Any]] | None:
        # a cached shortage is asked again: stock may have come back, and a refusal is the last word
        oldest, lines = time.monotonic() - _CACHED_SECONDS, []
        for item in basket:
            read_at, line = self._cache.get((currency, item["sku"]), (0.0, {}))
            if not line or read_at < oldest or line["available"] < item["quantity"]:
                return None
            lines.append({**line, "quantity": item["quantity"], "sufficient": True})
        return lines

    def _remember(self, currency: str, lines: Sequence[Mapping[str, Any]]) -> None:
        now = time.monotonic()
        for line in lines:
            self._cache[currency, line["sku"]] = (now, line)
            self._cache.move_to_end((currency, line["sku"]))
        while len(self._cache) > _CACHED_PRODUCTS:
            self._cache.popitem(last=False)


def _quote(lines: Sequence[Mapping[str, Any]]) -> Quote:
    prices = {line["sku"]: line["unit_price"] for line in lines}
    return Quote(prices, [line for line in lines if not line["sufficient"]])
