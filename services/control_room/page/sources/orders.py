"""The newest orders, as customers would see them."""

from typing import Any

from services.control_room.page.web import Away, Web

_SHOWN = 14


class Orders:
    """Asks the order service."""

    def __init__(self, web: Web, url: str) -> None:
        self._web, self._url = web, url

    async def newest(self) -> list[dict[str, Any]]:
        """The last orders, newest first. Raises `Away`."""
        if not self._url:
            raise Away("no address of the order service is configured")
        found = await self._web.get(f"{self._url}/orders", {"limit": str(_SHOWN)}, seconds=2.0)
        shown = ("id", "state", "customer", "currency", "total_amount", "created_at")
        return [{name: order[name] for name in shown} for order in found["items"]]

    async def one(self, order_id: str) -> Any:
        """An order with its history. Raises `Away`."""
        if not self._url:
            raise Away("no address of the order service is configured")
        return await self._web.get(f"{self._url}/orders/{order_id}", seconds=2.0)

    async def place(self, key: str, body: dict[str, Any]) -> dict[str, Any]:
        """Place an order: the status and the order's id. Raises `Away`."""
        if not self._url:
            raise Away("no address of the order service is configured")
        headers = {"Idempotency-Key": key}
        status, answer = await self._web.ask("POST", f"{self._url}/orders", json=body, headers=headers, seconds=10.0)
        answer = answer if isinstance(answer, dict) else {}
        return {"status": status, "id": answer.get("id"), "said": answer.get("title") or answer.get("state")}
