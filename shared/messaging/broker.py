"""The way to NATS JetStream: there when the broker is, out of the way when it is not."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import structlog

from shared.messaging import tracing, wire
from shared.messaging.link import BrokerUnavailable, Link
from shared.messaging.patience import within
from shared.messaging.streams import Limits

_FIRST_WAIT, _MAX_WAIT, _STOP_SECONDS = 0.1, 3.0, 2.0

log = structlog.get_logger()


class Broker:
    """Keeps one connection to the broker, and makes a new one whenever it is lost, for ever.

    `url` may list several servers with commas; ValueError if one is no `nats://` or `tls://` address. An empty one
    means that no broker is configured: everything works, and `publish` always raises. `jitter()` is in [0, 1) and
    spreads the reconnects of many clients.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str = "",
        password: str = "",
        name: str = "",
        limits: Limits | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._servers = [_server(part.strip()) for part in url.split(",") if part.strip()]
        self._user, self._password, self._name = user, password, name
        self._limits = limits or Limits()
        self._jitter = jitter
        self._link: Link | None = None
        self._linked = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def replicas(self) -> int:
        """How many servers of a cluster keep a copy of what is stored."""
        return self._limits.replicas

    @property
    def configured(self) -> bool:
        """Whether there is a broker to connect to at all."""
        return bool(self._servers)

    @property
    def connected(self) -> bool:
        """Whether the broker is there and has its streams, as far as is known."""
        return self._link is not None

    async def start(self) -> None:
        """Begin to connect, in the background. Neither fails nor waits when the broker is away."""
        if self.configured and self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="broker connection")

    async def stop(self) -> None:
        """Wait a little for confirmations on their way, then disconnect."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        if self._link is not None:
            with suppress(TimeoutError):
                async with within(_STOP_SECONDS):
                    await self._link.flushed()
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)

    async def wait_connected(self) -> None:
        """Return when the broker is there."""
        await self._linked.wait()

    @property
    def current(self) -> Link | None:
        """The live connection, if there is one."""
        return self._link

    async def link(self) -> Link:
        """The live connection; waits until there is one."""
        while (link := self._link) is None:
            await self._linked.wait()
        return link

    async def publish(
        self, subject: str, body: Mapping[str, Any], *, message_id: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Store one message and return when the broker has confirmed it.

        Raises `BrokerUnavailable` at once while the broker is away, and after 2 s without a confirmation. The same
        `message_id` within two minutes is stored once. The trace context goes along unless `headers` has one. Raises
        ValueError for a subject, a header or a size that no broker would take.
        """
        await self.publish_bytes(
            subject, wire.encode(body), {**tracing.carry(headers or {}), wire.MESSAGE_ID: message_id}
        )

    async def publish_bytes(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        """As `publish`, with a body and headers that are used as they are."""
        wire.check(subject, headers)
        if (link := self._link) is None:
            raise BrokerUnavailable("not connected" if self.configured else "no broker is configured")
        await link.publish(subject, payload, headers)

    async def _keep(self) -> None:
        wait, told = _FIRST_WAIT, ""
        while True:
            try:
                link = await Link.open(
                    self._servers, user=self._user, password=self._password, name=self._name, limits=self._limits
                )
            except BrokerUnavailable as error:
                if told != (told := str(error)):
                    log.warning("broker unavailable, trying on", reason=told)
                await asyncio.sleep(wait * (0.5 + self._jitter() / 2))
                wait = min(wait * 2, _MAX_WAIT)
                continue
            wait, told = _FIRST_WAIT, ""
            await self._use(link)

    async def _use(self, link: Link) -> None:
        self._link = link
        self._linked.set()
        log.info("broker connected", server=getattr(link.client.connected_url, "netloc", ""))
        reason = "stopped"
        try:
            reason = await link.watch()
        finally:
            self._link = None
            self._linked.clear()
            log.info("broker connection ended", reason=reason)
            await link.close()


def _server(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in {"nats", "tls"} or not parts.hostname or parts.path.strip("/"):
        raise ValueError(f"not the address of a NATS server (nats://host:4222): {parts.hostname or address!r}")
    return address
