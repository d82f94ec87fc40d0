"""The settings of the order service."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from shared.chassis.settings import ServiceSettings


class OrderSettings(ServiceSettings):
    """What the order service needs beside what every service needs."""

    service: Literal["order"] = "order"
    payment_url: str = Field(pattern=r"^https?://")
    inventory_url: str = Field(pattern=r"^https?://")
    order_to_payment_key: SecretStr = Field(min_length=32)
    order_to_inventory_key: SecretStr = Field(min_length=32)
    card_sealing_public_key: SecretStr
    resilience_file: Path = Path(__file__).with_name("resilience.yaml")
    resilience_reload_seconds: float = Field(default=2.0, gt=0)
    share_breakers: bool = True
    hold_seconds: int = Field(default=120, ge=1, le=3_600)
    lease_seconds: float = Field(default=8.0, gt=0)
    ask_again_seconds: float = Field(default=20.0, gt=0)
    patience_seconds: float = Field(default=900.0, gt=0)
    order_seconds: float = Field(default=9.0, gt=0)
    max_connections: int = Field(default=200, ge=1)
