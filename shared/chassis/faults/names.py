"""An HTTP client in a network without a name server: what calls by name meet when no name can be looked up."""

import ipaddress
import socket

import httpx

from shared.chassis.kept_connections import KeptConnections

_CALLS_AT_ONCE = 100


async def _look_up(host: str) -> str:
    """Raise what the system's own resolver raises when it reaches no name server; an address needs none."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution") from None
    return host


def without_names() -> httpx.AsyncBaseTransport:
    """A transport that looks every name up and finds none.

    It keeps no connections: those that were open when names were lost would go on, and are for whoever wants to see
    that. Addresses it reaches, as they need no name.
    """
    return KeptConnections(_CALLS_AT_ONCE, keep=False, look_up=_look_up)
