"""Makes orders that look like a shop's: baskets from the live catalogue, many customers, a few cards that decline."""

import math
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx

GOOD_CARDS = ("4242424242424242", "5555555555554444", "378282246310005")
DECLINING_CARD = "4000000000000002"

_CUSTOMERS = (
    "ada",
    "grace",
    "edsger",
    "barbara",
    "leslie",
    "margaret",
    "alan",
    "radia",
    "ken",
    "frances",
    "tony",
    "jean",
)
_CURRENCIES = {"EUR": 6, "USD": 3, "GBP": 1}
_PAGES, _PAGE = 5, 100


@dataclass(frozen=True, slots=True)
class Product:
    """What can be ordered: its currencies, and how often it is picked in comparison."""

    sku: str
    currencies: frozenset[str]
    weight: float


# For when the catalogue cannot be read: drills begin with an inventory that is down, too.
KNOWN_PRODUCTS = tuple(
    Product(sku, frozenset(_CURRENCIES), 1.0) for sku in ("mug-enamel", "notebook-dot", "torch-headlamp", "tape-gaffer")
)


async def live_catalogue(client: httpx.AsyncClient, inventory_url: str) -> tuple[Product, ...]:
    """The products in stock now, picked the more often the more there are of them; empty when it cannot be read."""
    products: list[Product] = []
    after = ""
    try:
        for _ in range(_PAGES):
            parameters = {"limit": str(_PAGE)} | ({"after": after} if after else {})
            response = await client.get(f"{inventory_url}/products", params=parameters, timeout=5)
            response.raise_for_status()
            page: dict[str, Any] = response.json()
            products += [
                Product(item["sku"], frozenset(item["prices"]), math.sqrt(item["available"]))
                for item in page["items"]
                if item["available"] > 0
            ]
            after = page.get("next") or ""
            if not after:
                break
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return ()
    return tuple(products)


class OrderMaker:
    """Makes orders from one source of randomness: the same seed and catalogue, the same orders."""

    def __init__(self, products: tuple[Product, ...], random: Random, declining_share: float) -> None:
        self._products = products
        self._random = random
        self._declining_share = declining_share

    def make(self) -> dict[str, Any]:
        """The body of one `POST /orders`."""
        first = self._pick(self._products)
        offered = [currency for currency in _CURRENCIES if currency in first.currencies] or sorted(first.currencies)
        currency = self._random.choices(offered, [_CURRENCIES.get(each, 1) for each in offered])[0]
        fitting = tuple(product for product in self._products if currency in product.currencies)
        # Most baskets hold one thing, few hold three; a basket names each product once.
        basket = {first.sku} | {self._pick(fitting).sku for _ in range(self._random.choices((0, 1, 2), (6, 3, 1))[0])}
        declining = self._random.random() < self._declining_share
        return {
            "customer": self._random.choice(_CUSTOMERS),
            "currency": currency,
            "items": [
                {"sku": sku, "quantity": self._random.choices((1, 2, 3), (7, 2, 1))[0]} for sku in sorted(basket)
            ],
            "payment_method": {
                "type": "card",
                "number": DECLINING_CARD if declining else self._random.choice(GOOD_CARDS),
            },
        }

    def _pick(self, products: tuple[Product, ...]) -> Product:
        return self._random.choices(products, [product.weight for product in products])[0]
