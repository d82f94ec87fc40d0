"""The page finds replicas behind a name that has an address for each, as in compose and in a cluster."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from services.control_room.page.app import create_app
from services.control_room.page.settings import PageSettings
from services.control_room.page.sources.names import Names, Replica, parsed, resolve
from services.control_room.page.web import Away, Web
from tests.integration.control_room.test_page import ALERT_TOKEN, HEADER, TOKEN, log_in


class Pod:
    """A replica that says who it is and notes what it was asked, and by which name."""

    def __init__(self, address: str, instance: str) -> None:
        self.address, self.instance = address, instance
        self.asked: list[tuple[str, str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path, request.headers["host"]))
        if request.path == "/info":
            return web.json_response({"instance": self.instance})
        if request.path == "/health/ready":
            return web.json_response({"status": "ready", "dependencies": {}})
        if request.path == "/admin/faults":
            return web.json_response({"instance": self.instance, "faults": []})
        return web.json_response({"title": "Not found"}, status=404)


class Nameserver:
    """Resolves names as it is told, or not at all."""

    def __init__(self, **names: Sequence[str]) -> None:
        self.names: dict[str, Sequence[str]] = dict(names)
        self.away = False

    async def resolve(self, host: str, _port: int) -> Sequence[str]:
        if self.away:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self.names.get(host, [])


@pytest.fixture
async def pods() -> AsyncIterator[tuple[list[Pod], int]]:
    """Two pods, each on the same port of an address of its own."""
    started = [Pod("127.0.0.1", "payment-v1-abc"), Pod("127.0.0.2", "payment-v1-def")]
    port = 0
    async with AsyncExitStack() as held:
        for pod in started:
            app = web.Application()
            app.router.add_route("*", "/{tail:.*}", pod.answer)
            runner = web.AppRunner(app)
            await runner.setup()
            held.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, pod.address, port).start()
            port = runner.addresses[0][1]
        yield started, port


async def test_each_address_of_a_name_is_a_replica_that_is_asked_by_the_name_and_called_what_it_says(
    tmp_path: Path, pods: tuple[list[Pod], int]
) -> None:
    (one, two), port = pods
    names = Nameserver(**{"payment-replicas": [one.address, two.address]})
    settings = PageSettings(
        database_url=f"sqlite+aiosqlite:///{tmp_path / 'page.sqlite'}",
        admin_token=TOKEN,
        alert_token=ALERT_TOKEN,
        place="kubernetes",
        replica_names=f"payment=payment-replicas:{port} inventory=inventory-replicas:{port}",
    )
    app = create_app(settings, resolve=names.resolve)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8088") as http,
    ):
        async with asyncio.timeout(10):
            view = (await http.get("/view")).json()
        told = {each["name"]: (each["status"], each["reason"]) for each in view["replicas"]["value"]}
        assert told == {
            "payment-v1-abc": ("ready", ""),
            "payment-v1-def": ("ready", ""),
            "inventory": ("down", "nobody is called inventory-replicas"),
        }
        await log_in(http)
        answer = await http.delete("/deeds/faults/payment-v1-def/f1", headers=HEADER)
        assert answer.status_code == 502
        assert ("DELETE", "/admin/faults/f1", f"payment-replicas:{port}") in two.asked
        assert not [each for each in one.asked if each[0] == "DELETE"]
        assert {host for *_, host in (*one.asked, *two.asked)} == {f"payment-replicas:{port}"}


async def test_what_the_page_cannot_do_in_a_cluster_it_names_with_the_command_that_does(tmp_path: Path) -> None:
    settings = PageSettings(
        database_url=f"sqlite+aiosqlite:///{tmp_path / 'page.sqlite'}",
        admin_token=TOKEN,
        alert_token=ALERT_TOKEN,
        place="kubernetes",
        prometheus_url="http://127.0.0.1:9",
        prometheus_link="http://localhost:9090",
    )
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8088") as http,
    ):
        facts = (await http.get("/facts")).json()
        assert facts["links"]["Prometheus"] == "http://localhost:9090"
        assert facts["login"].startswith("kubectl -n holdfast get secret operator")
        assert not facts["can_experiment"]
        async with asyncio.timeout(10):
            view = (await http.get("/view")).json()
        for part in ("predictions", "experiments", "audit"):
            assert any(word in view[part]["away"] for word in ("kubectl", "python -m")), view[part]["away"]
            assert "make " not in view[part]["away"]


async def test_a_resolver_that_is_away_loses_no_replica_that_was_known_and_is_named_when_none_was() -> None:
    time, server = 0.0, Nameserver(order=["10.0.0.1", "10.0.0.2"])
    names = Names(Unasked(), parsed("order=order:8080"), server.resolve, lambda: time)
    known = await names.find()
    assert [each.name for each in known] == ["order-10.0.0.1", "order-10.0.0.2"]
    server.away, time = True, 60.0
    assert await names.find() == known
    with pytest.raises(Away, match=r"the name order cannot be looked up: Temporary failure"):
        await Names(Unasked(), parsed("order=order:8080"), server.resolve, lambda: time).find()


async def test_a_name_is_looked_up_anew_every_few_seconds_so_that_scaling_is_seen() -> None:
    time, server = 0.0, Nameserver(order=["10.0.0.1"])
    names = Names(Unasked(), parsed("order=order:8080"), server.resolve, lambda: time)
    await names.find()
    server.names = {"order": ["10.0.0.1", "fd00::1"]}
    assert len(await names.find()) == 1
    time = 3.0
    found = await names.find()
    assert found[1] == Replica("order-fd00--1", "order", "http://[fd00::1]:8080", "order:8080")
    server.names, time = {}, 6.0
    assert await names.find() == []
    assert names.nobody() == [("order", "order")]


async def test_a_name_that_nobody_has_leads_to_nobody_and_one_that_cannot_be_told_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await resolve("127.0.0.1", 8080) == ["127.0.0.1"]

    def fails(code: int) -> None:
        async def lookup(*_: Any, **__: Any) -> Any:
            raise socket.gaierror(code, "as the resolver says")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup, raising=False)

    fails(socket.EAI_NONAME)
    assert await resolve("order", 8080) == []
    fails(socket.EAI_AGAIN)
    with pytest.raises(socket.gaierror):
        await resolve("order", 8080)


@pytest.mark.parametrize("wrong", ["order", "order=", "order=host", "order=host:0", "order=host:99999", "a=b:c"])
def test_a_name_that_cannot_be_used_is_told_at_the_start(wrong: str) -> None:
    with pytest.raises(ValueError, match="is no service=host:port"):
        parsed(wrong)


class Unasked(Web):
    """Nobody answers."""

    def __init__(self) -> None:
        super().__init__("token")

    async def ask(self, *_: Any, **__: Any) -> tuple[int, Any]:
        raise Away("nobody")
