"""What answers at the ports that the documentation names, taken from the applications where they are ours."""

import importlib
import re
from functools import cache
from pathlib import Path

from fastapi import FastAPI

from infra.kubernetes import secrets
from infra.local.settings import SERVICES, LocalSettings
from services.inventory.settings import InventorySettings
from services.order.settings import OrderSettings
from services.payment.settings import PaymentSettings
from shared.chassis.settings import ServiceSettings
from tests.unit.docs.pages import ROOT

_SETTINGS: dict[str, type[ServiceSettings]] = {
    "order": OrderSettings,
    "payment": PaymentSettings,
    "inventory": InventorySettings,
}
_ROUTE = re.compile(r"\.(?:get|post|put|patch|delete)\(\s*\"(/[^\"]*)\"|Route\(\"(/[^\"]*)\"|prefix=\"(/[^\"]*)\"")
_EVERYWHERE = {"/health/live", "/health/ready", "/health/startup", "/metrics", "/info", "/docs", "/openapi.json"}
_OPERATORS = ("/admin", "/metrics")
_OTHERS: dict[int, tuple[str, ...]] = {
    9090: ("/", "/api/v1/alerts", "/api/v1/query", "/api/v1/rules", "/api/v1/targets", "/classic/"),
    8222: ("/healthz",),
    9093: ("/",),
    9902: ("/stats/prometheus",),
    3000: ("/",),
    16686: ("/",),
}
"""Programs of others: the paths that their documentation has, and ours may name."""
_HANDS: dict[int, str] = {
    8088: "services/control_room/page",
    8090: "services/control_room",
    8095: "ml/predictor",
    8096: "ml/remediation",
    8097: "chaos/gate",
}


@cache
def _operations(service: str) -> frozenset[str]:
    given = {**secrets.make()[service], "fault_injection": "on", "instance": f"{service}-1"}
    wanted = _SETTINGS[service].model_fields
    values = {"payment_url": "http://p", "inventory_url": "http://i", **given}
    settings = _SETTINGS[service](**{name: value for name, value in values.items() if name in wanted})
    app: FastAPI = importlib.import_module(f"services.{service}.app").create_app(settings)
    return frozenset(app.openapi()["paths"]) | _EVERYWHERE


@cache
def _literals(folder: str) -> frozenset[str]:
    """Paths of routes as the sources under a folder spell them, with and without the prefixes that stand there."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(ROOT / folder).rglob("*.py")))
    found = {path for groups in _ROUTE.findall(text) for path in groups if path}
    prefixes = {groups[2] for groups in _ROUTE.findall(text) if groups[2]}
    return frozenset(found | {prefix + path for prefix in prefixes for path in found} | _EVERYWHERE)


def paths_at(port: int) -> frozenset[str] | None:
    """The templates of paths that are served at a port of the local stack's defaults; None where nothing listens."""
    stack = LocalSettings.model_construct()
    for each in SERVICES:
        own, shared = _operations(each.module), getattr(stack, LocalSettings.service_port_setting(each))
        first = getattr(stack, f"replica_port_{each.key}")
        if first <= port < first + stack.slots(each):
            return own
        if port == shared:
            return frozenset(path for path in own if not path.startswith(_OPERATORS))
    if port in _HANDS:
        return _literals(_HANDS[port])
    return frozenset(_OTHERS[port]) if port in _OTHERS else None


def serves(port: int, path: str) -> bool:
    """Whether something at this port answers this path, whatever stands for its parameters."""
    templates = paths_at(port) or frozenset()
    return any(re.fullmatch(re.sub(r"\\\{[^}]+\}", "[^/]+", re.escape(each)), path) for each in templates)
