"""What the compose rehearsal asks of the page holds for the page, and does not when a part is missing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from aiohttp import web

from infra.compose.rehearsal import checks as rehearsal
from infra.compose.rehearsal.__main__ import CHOSEN, STARTED
from infra.compose.rehearsal.images import variables
from infra.compose.stack import ComposeStack
from infra.local import secrets
from infra.local.harness import settings_for
from infra.local.state import StateDirectory
from ml.remediation.api import create_app as remediation_api
from ml.remediation.api import serving
from services.control_room.page.app import create_app
from services.control_room.page.settings import PageSettings
from tests.fixtures.waiting import until
from tests.integration.control_room.test_page import ALERT_TOKEN, free_port
from tests.integration.control_room.test_replica_names import Nameserver
from tests.unit.ml.remediation.platform import Platform

PODS = {"127.0.0.1": "order", "127.0.0.2": "order", "127.0.0.3": "payment", "127.0.0.4": "inventory"}
PREDICTIONS = [{"service": each, "state": "quiet", "missing": []} for each in ("order", "payment", "inventory")]
MODEL = {"name": "a model", "drift": {}, "metrics": {}}


async def answer(request: web.Request) -> web.Response:
    """A replica, or the predictor, whoever is asked."""
    service = PODS[request.url.host or ""] if request.url.host in PODS else request.host.partition(":")[0]
    bodies: dict[str, Any] = {
        "/info": {"instance": f"{service}-{(request.transport.get_extra_info('sockname') or [''])[0]}"},  # type: ignore[union-attr]
        "/health/ready": {"dependencies": {}, "breakers": {"payment": "closed"} if service == "order" else {}},
        "/predictions": {"predictions": PREDICTIONS},
        "/model": MODEL,
    }
    return web.json_response(bodies.get(request.path, {}), status=200 if request.path in bodies else 404)


@pytest.fixture
async def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[rehearsal.Checks]:
    """The rehearsal's checks, before a page with everything that the rehearsal starts behind it."""
    monkeypatch.setattr(rehearsal, "_SHOWN_SECONDS", 15.0)
    state = StateDirectory(tmp_path / "state")
    state.create()
    secrets.ensure(state)
    token = secrets.read(state, secrets.OPERATOR, "admin_token")
    names = Nameserver(order=["127.0.0.1", "127.0.0.2"], payment=["127.0.0.3"], inventory=["127.0.0.4"])
    async with AsyncExitStack() as held:
        served = web.Application()
        served.router.add_route("*", "/{tail:.*}", answer)
        runner = web.AppRunner(served)
        await runner.setup()
        held.push_async_callback(runner.cleanup)
        port, page_port, remediation_port = free_port(), free_port(), free_port()
        for address in PODS:
            await web.TCPSite(runner, address, port).start()
        platform = Platform(tmp_path, mode="approve")
        held.callback(platform.end)
        api = remediation_api(platform.remediator, platform.approvals, platform.metrics, token)
        await held.enter_async_context(serving(api, remediation_port))
        settings = PageSettings(
            database_url=f"sqlite+aiosqlite:///{tmp_path / 'page.sqlite'}",
            admin_token=token,
            alert_token=ALERT_TOKEN,
            place="compose",
            replica_names=f"order=order:{port} payment=payment:{port} inventory=inventory:{port}",
            predictor_url=f"http://127.0.0.1:{port}",
            remediation_url=f"http://127.0.0.1:{remediation_port}",
        )
        await held.enter_async_context(serving(create_app(settings, resolve=names.resolve), page_port))
        container = SimpleNamespace(service="page", published=(f"127.0.0.1:{page_port}",))
        stack = cast("ComposeStack", SimpleNamespace(state=state, status=lambda: [container]))
        client = held.enter_context(httpx.Client(timeout=10, trust_env=False))
        await asyncio.to_thread(until, lambda: _listens(client, page_port))
        yield rehearsal.Checks(stack, client)


def _listens(client: httpx.Client, port: int) -> bool:
    try:
        return client.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


async def test_each_question_that_the_rehearsal_asks_of_the_page_is_answered(
    asked: rehearsal.Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = asked
    assert "logged in" in await asyncio.to_thread(checks.page_guarded)
    assert "order-127.0.0.2" in await asyncio.to_thread(checks.page_replicas, 4)
    assert "payment quiet" in await asyncio.to_thread(checks.page_predictions)
    assert "kill switch thrown and taken back" in await asyncio.to_thread(checks.page_approvals)
    assert "make audit" in await asyncio.to_thread(checks.page_commands)
    monkeypatch.setattr(rehearsal, "_SHOWN_SECONDS", 0.0)
    with pytest.raises(rehearsal.Failed, match=r"order-127\.0\.0\.2"):
        await asyncio.to_thread(checks.page_replicas, 5)


def test_the_rehearsal_starts_the_page_and_what_it_shows_from_images_of_its_own(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, **CHOSEN)
    assert (settings.page, settings.remediation, settings.minute_seconds) == ("on", "approve", 5)
    for name in ("page", "predictor", "remediation"):
        assert name in STARTED
        assert f"{name.upper()}_IMAGE" in variables()
