"""Replicas behind host names: each address that a name resolves to is one of them.

Compose gives a name an address for each container, Kubernetes' headless Services one for each pod. A request goes to
the address and names the host: in a mesh the name is what is routed by, and the address then says to which pod.
"""

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from services.control_room.page.web import Away, Web

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host name and a port to addresses; none when nobody has the name. Raises OSError when that cannot be told."""

_PATTERN = re.compile(r"([a-z_]{1,32})=([A-Za-z0-9.-]{1,253}):(\d{1,5})")
_LOOKUP_SECONDS, _KEPT_SECONDS, _INFO_SECONDS = 1.0, 3.0, 0.5
_MOST_ADDRESSES = 64
_NAMELESS = re.compile(r"[^A-Za-z0-9_.-]")


class Replica(NamedTuple):
    """One process and its own address. `host` is what requests to it name, when that is not its address."""

    name: str
    service: str
    url: str
    host: str = ""


class Name(NamedTuple):
    """A host name whose addresses are replicas of a service."""

    service: str
    host: str
    port: int


def parsed(text: str) -> list[Name]:
    """From `order=order-replicas:8080 payment=payment-v1:8080 payment=payment-v2:8080`. Raises ValueError."""
    found = []
    for word in text.split():
        parts = _PATTERN.fullmatch(word)
        if parts is None or not 0 < int(parts[3]) < 65536:
            raise ValueError(f"{word!r} is no service=host:port")
        found.append(Name(parts[1], parts[2], int(parts[3])))
    return found


async def resolve(host: str, port: int) -> Sequence[str]:
    """What the resolver of this machine says, addresses of one family only: a pod that has both is one pod."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
            return []
        raise
    return sorted({str(each[4][0]) for each in found if each[0] == found[0][0]})


class Names:
    """Looks names up every few seconds, and asks whoever is new there what it is called."""

    def __init__(
        self,
        web: Web,
        names: Sequence[Name],
        resolve: Resolve = resolve,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._web, self._names, self._resolve, self._monotonic = web, names, resolve, monotonic
        self._addresses: dict[Name, Sequence[str]] = {}
        self._called: dict[str, str] = {}
        self._until = float("-inf")

    async def find(self) -> list[Replica]:
        """Every replica. A name that cannot be looked up keeps the addresses that it had. Raises `Away`."""
        if self._monotonic() >= self._until:
            await asyncio.gather(*(self._look_up(each) for each in self._names))
            self._until = self._monotonic() + _KEPT_SECONDS
        found = [Replica("", name.service, _url(each, name.port), f"{name.host}:{name.port}")
                 for name in self._names for each in self._addresses[name]]  # fmt: skip
        await self._ask_the_new(found)
        return [each._replace(name=self._called.get(each.url) or _by_address(each)) for each in found]

    def nobody(self) -> list[tuple[str, str]]:
        """Services of which none was found, each with the names that lead nowhere."""
        hosts: dict[str, list[str]] = {}
        for name in self._names:
            hosts.setdefault(name.service, []).append(name.host)
        there = {name.service for name, addresses in self._addresses.items() if addresses}
        return [(service, ", ".join(names)) for service, names in hosts.items() if service not in there]

    async def _look_up(self, name: Name) -> None:
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                found = await self._resolve(name.host, name.port)
        except (OSError, TimeoutError) as error:
            if name not in self._addresses:
                reason = getattr(error, "strerror", None) or "no answer in time"
                raise Away(f"the name {name.host} cannot be looked up: {reason}") from None
            return
        self._addresses[name] = list(found)[:_MOST_ADDRESSES]

    async def _ask_the_new(self, found: Sequence[Replica]) -> None:
        here = {each.url for each in found}
        # an address may be given to another pod once it has been away
        self._called = {url: called for url, called in self._called.items() if url in here}
        await asyncio.gather(*(self._ask(each) for each in found if each.url not in self._called))

    async def _ask(self, replica: Replica) -> None:
        with contextlib.suppress(Away):  # its health says so
            told: Any = await self._web.get(f"{replica.url}/info", host=replica.host, seconds=_INFO_SECONDS)
            if isinstance(told, dict) and isinstance(told.get("instance"), str):
                self._called[replica.url] = _NAMELESS.sub("-", told["instance"])[:64]


def _url(address: str, port: int) -> str:
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def _by_address(replica: Replica) -> str:
    address = replica.url.removeprefix("http://").rpartition(":")[0].strip("[]")
    return f"{replica.service}-{_NAMELESS.sub('-', address)}"
