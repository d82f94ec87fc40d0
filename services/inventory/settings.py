"""The settings of the inventory service."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from shared.chassis.settings import ServiceSettings


class InventorySettings(ServiceSettings):
    """Beside what every service has: the key of the edge from order, and the products to start with."""

    service: Literal["inventory"] = "inventory"
    order_to_inventory_key: SecretStr = Field(min_length=32)
    catalogue: Path = Path(__file__).parent / "catalogue.yaml"
    expiry_batch: int = Field(default=100, ge=1, le=1_000)
