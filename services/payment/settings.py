"""The settings of the payment service."""

import base64
import binascii
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from services.payment.behaviour import Behaviour
from shared.chassis.settings import ServiceSettings

_KEY_BYTES = 32


class PaymentSettings(ServiceSettings):
    """What the payment service needs to start, beside what every service needs."""

    service: Literal["payment"] = "payment"
    order_to_payment_key: SecretStr = Field(min_length=32)
    card_sealing_private_key: SecretStr
    """X25519, 32 bytes, base64."""

    card_network_latency_median_ms: float = Field(default=4.0, ge=0, le=60_000)
    card_network_latency_p99_ms: float = Field(default=20.0, ge=0, le=60_000)
    card_network_lost_requests: float = Field(default=0.0, ge=0, le=1)
    card_network_lost_answers: float = Field(default=0.0, ge=0, le=1)
    card_network_seed: int | None = None
    """Makes the network's latencies and losses repeatable; left out, they differ from run to run."""
    card_network_limit_seconds: float = Field(default=3.0, gt=0, le=60)
    """How long one call to the network may take."""

    worker_concurrency: int = Field(default=8, ge=1, le=256)
    worker_max_deliveries: int = Field(default=12, ge=1, le=1_000)
    worker_first_wait_seconds: float = Field(default=0.5, gt=0, le=60)
    worker_wait_multiplier: float = Field(default=2.0, ge=1, le=10)
    worker_max_wait_seconds: float = Field(default=10.0, gt=0, le=3_600)

    @field_validator("card_sealing_private_key")
    @classmethod
    def _is_a_key(cls, key: SecretStr) -> SecretStr:
        try:
            raw = base64.b64decode(key.get_secret_value().strip(), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != _KEY_BYTES:
            raise ValueError("must be 32 bytes in base64")
        return key

    @model_validator(mode="after")
    def _can_behave(self) -> Self:
        self.behaviour()
        return self

    def behaviour(self) -> Behaviour:
        """How the card network behaves until an operator switches it."""
        return Behaviour(
            latency_median_ms=self.card_network_latency_median_ms,
            latency_p99_ms=self.card_network_latency_p99_ms,
            lost_requests=self.card_network_lost_requests,
            lost_answers=self.card_network_lost_answers,
        )
