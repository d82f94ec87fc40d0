"""An HTTP client in a network without a name server: what calls by name meet when no name can be looked up."""

import socket
import ssl

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from httpx_aiohttp import AiohttpTransport


class NoNames(AbstractResolver):
    """A resolver that reaches no name server."""

    async def resolve(
        self,
        host: str,  # noqa: ARG002 - whichever it is
        port: int = 0,  # noqa: ARG002
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002
    ) -> list[ResolveResult]:
        """Raise what the system's own resolver raises then."""
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async def close(self) -> None:
        """There is nothing to close."""


def without_names() -> httpx.AsyncBaseTransport:
    """A transport that looks every name up and finds none, through the client's own connector.

    It keeps no connections: those that were open when names were lost would go on, and are for whoever wants to see
    that. Addresses it reaches, as they need no name.
    """

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(resolver=NoNames(), use_dns_cache=False, force_close=True)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    # The session is made by the first call that needs it. The context trusts nobody: encryption is the mesh's.
    return AiohttpTransport(client=session, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
