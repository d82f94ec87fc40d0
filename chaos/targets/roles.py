"""Jobs that other programs do in other places, by the names that experiments have for them."""

from collections.abc import Mapping, Sequence

Roles = Mapping[str, Sequence[str]]

LOCAL: Roles = {"telemetry": ("control-room-1", "prometheus")}
COMPOSE: Roles = {"telemetry": ("otel-collector", "jaeger", "prometheus")}
