"""The settings of the control room."""

from typing import Literal

from pydantic import Field, SecretStr

from shared.chassis.settings import ServiceSettings


class ControlRoomSettings(ServiceSettings):
    """Beside what every service has: who may send traces, which are kept, for how long and how many.

    `trace_share` of the ordinary traces is kept, chosen by trace id, and up to `trace_floor` a second beyond that, so
    that a quiet platform shows every trace. A trace with an error, or with a span of `slow_ms`, is always kept.
    """

    service: Literal["control_room"] = "control_room"
    max_body_bytes: int = Field(default=4_194_304, ge=1_024)
    order_otlp_token: SecretStr = Field(min_length=16)
    payment_otlp_token: SecretStr = Field(min_length=16)
    inventory_otlp_token: SecretStr = Field(min_length=16)

    trace_share: float = Field(default=0.1, ge=0, le=1)
    trace_floor: float = Field(default=5.0, ge=0)
    slow_ms: int = Field(default=1_000, ge=1)
    decision_seconds: float = Field(default=2.0, gt=0, le=60)

    queue_spans: int = Field(default=30_000, ge=1)
    queue_bytes: int = Field(default=16_777_216, ge=1_024)

    retention_hours: float = Field(default=24.0, gt=0)
    retention_spans: int = Field(default=200_000, ge=1)
    retention_mb: float = Field(default=200.0, gt=0)

    def senders(self) -> dict[str, SecretStr]:
        """Who may send traces, with their tokens."""
        return {
            "order": self.order_otlp_token,
            "payment": self.payment_otlp_token,
            "inventory": self.inventory_otlp_token,
        }
