"""Every route of every program is asked without a token. One that answers is named here, or the test fails."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from nacl.public import PrivateKey
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from chaos.gate.app import create_app as gate
from ml.predictor.app import create_app as predictor
from ml.remediation.api import create_app as remediation
from services.control_room.app import create_app as control_room
from services.control_room.page.app import create_app as page
from services.control_room.page.settings import PageSettings
from services.control_room.settings import ControlRoomSettings
from services.inventory.app import create_app as inventory
from services.inventory.settings import InventorySettings
from services.order.app import create_app as order
from services.order.settings import OrderSettings
from services.payment.app import create_app as payment
from services.payment.settings import PaymentSettings
from shared.chassis.auth import TokenSigner
from tests.integration.payment.counter import encode

KEYS = {name: name[:1] * 40 for name in ("payment", "inventory")}
EVERYWHERE = "GET /health/live, GET /health/ready, GET /health/startup, GET /info, GET /metrics, GET /openapi.json, "
EVERYWHERE += "GET /docs, GET /docs/oauth2-redirect, GET /redoc"

# What anybody who can reach the program may ask; who that is, docs/security.md says. All else wants a token.
OPEN = {
    "order": "POST /orders, GET /orders, GET /orders/{order_id}, POST /orders/{order_id}/cancel, GET /error-budget",
    "payment": "GET /test-cards",
    "inventory": "GET /products, GET /products/{sku}",
    "control_room": "GET /api/services, GET /api/services/{service}/operations, GET /api/operations, GET /api/traces, "
    "GET /api/traces/{trace_id}, GET /api/dependencies",
    "page": "GET /, GET /view, GET /facts, GET /orders/{order_id}, GET /traces, GET /traces/{trace_id}, "
    "GET /dashboards/{name}, GET /d/{name}, DELETE /session",
    "predictor": "GET /predict/{service}, GET /predictions, GET /model, GET /openapi.json",
    "remediation": "",
    "gate": "",
}
PAGE_FILES = {".js", ".css", ".svg", ".html", ".png", ".ico"}


def apps(directory: Path) -> dict[str, FastAPI]:
    """Everything of this repository that listens, with every switch on; none is started."""
    card_key = PrivateKey.generate()

    def common(name: str) -> dict[str, Any]:
        database = f"sqlite+aiosqlite:///{directory}/{name}.sqlite"
        return {"database_url": database, "admin_token": "the-admin-token-of-a-test", "fault_injection": "on"}

    tokens = {f"{sender}_otlp_token": f"{sender}-token-of-a-test" for sender in ("order", "payment", "inventory")}
    client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(500)))
    counts = SimpleNamespace(registry=CollectorRegistry(auto_describe=False))
    return {
        "order": order(
            OrderSettings(
                **common("order"),
                payment_url="http://127.0.0.1:9",
                inventory_url="http://127.0.0.1:9",
                order_to_payment_key=KEYS["payment"],
                order_to_inventory_key=KEYS["inventory"],
                card_sealing_public_key=encode(bytes(card_key.public_key)),
            )
        ),
        "payment": payment(
            PaymentSettings(
                **common("payment"),
                order_to_payment_key=KEYS["payment"],
                card_sealing_private_key=encode(bytes(card_key)),
            )
        ),
        "inventory": inventory(InventorySettings(**common("inventory"), order_to_inventory_key=KEYS["inventory"])),
        "control_room": control_room(ControlRoomSettings(**common("room"), **tokens)),
        "page": page(PageSettings(**common("page"), alert_token="the-alert-token-of-a-test")),
        "predictor": predictor(SimpleNamespace(services=()), SimpleNamespace(), counts),  # type: ignore[arg-type]
        "remediation": remediation(SimpleNamespace(), SimpleNamespace(), SimpleNamespace(), "a-token"),  # type: ignore[arg-type]
        "gate": gate({}, client, token="a-token"),
    }


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of every route, those of the frameworks too."""
    for context in iter_route_contexts(app.routes):
        assert context.methods, f"{context.path} is no plain route: what it lets in has to be looked at"
        yield from ((method, context.path) for method in sorted(context.methods - {"HEAD"}))


def is_open(name: str, method: str, path: str) -> bool:
    listed = f"{EVERYWHERE}, {OPEN[name]}".split(", ")
    is_file = name == "page" and method == "GET" and Path(path).suffix in PAGE_FILES
    return f"{method} {path}" in listed or is_file


def attempts(name: str) -> list[dict[str, str]]:
    """What somebody may try who has no token for this program, the keys of the other edges being theirs."""
    stolen = {audience: TokenSigner("order", audience, SecretStr(key)).token() for audience, key in KEYS.items()}
    others = [token for audience, token in stolen.items() if audience != name]
    forged = TokenSigner("order", name, SecretStr("x" * 40)).token()
    values = ["", "Bearer", "Bearer wrong", "Basic YTpi", *(f"Bearer {token}" for token in (*others, forged))]
    return [{}, *({"authorization": value, "x-gate-token": value, "x-control-room": "1"} for value in values)]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FastAPI]:
    return apps(tmp_path_factory.mktemp("programs"))


@pytest.mark.parametrize("name", OPEN)
async def test_every_route_but_those_named_here_is_refused_without_its_token(
    programs: dict[str, FastAPI], name: str
) -> None:
    transport = httpx.ASGITransport(programs[name], raise_app_exceptions=False)
    guarded = [route for route in routes(programs[name]) if not is_open(name, *route)]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        for method, path in guarded:
            asked = path.replace("{", "").replace("}", "").replace(":path", "")
            for headers in attempts(name):
                answer = await http.request(method, asked, json={}, headers=headers)
                assert answer.status_code in (401, 403), (method, path, headers, answer.text)
    expected = {"order": 17, "payment": 10, "inventory": 10, "control_room": 5, "page": 19, "remediation": 5, "gate": 2}
    assert len(guarded) >= expected.get(name, 0), guarded


@pytest.mark.parametrize("name", OPEN)
def test_every_route_that_is_named_here_exists(programs: dict[str, FastAPI], name: str) -> None:
    there = {f"{method} {path}" for method, path in routes(programs[name])}
    assert [each for each in OPEN[name].split(", ") if each and each not in there] == []


def test_what_predicts_has_no_route_that_changes_anything(programs: dict[str, FastAPI]) -> None:
    assert {method for method, _ in routes(programs["predictor"])} == {"GET"}


def test_every_program_of_the_tree_that_listens_is_asked() -> None:
    root = Path(__file__).parents[2]
    makers = {
        str(path.relative_to(root))
        for folder in ("services", "shared", "infra", "chaos", "ml", "workshop")
        for path in (root / folder).rglob("*.py")
        if "def create_app(" in path.read_text(encoding="utf-8") or "= FastAPI(" in path.read_text(encoding="utf-8")
    }
    asked = {f"services/{name}/app.py" for name in ("order", "payment", "inventory", "control_room")}
    asked |= {"services/control_room/page/app.py", "ml/predictor/app.py", "ml/remediation/api.py", "chaos/gate/app.py"}
    assert makers == asked | {"shared/chassis/app.py"}
