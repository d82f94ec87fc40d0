"""Where this process may change nothing: it counts replicas by their names, and says what a person could do.

In containers only who runs the engine can scale or restart, and an engine's socket in a container is that container's
way out. So every action ends as `unsupported`, with the command in its detail.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

from ml.remediation.actuators.protocol import ActuatorError, Failure
from ml.remediation.limits import Fleet

_SECONDS = 2.0

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""From a host name to the addresses behind it; none when nobody has the name. Raises OSError when nobody can tell."""


async def look_up(host: str) -> Sequence[str]:
    """As the resolver of this machine says."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
            return []
        raise
    return sorted({str(each[4][0]) for each in found if each[0] == found[0][0]})


class AdviceActuator:
    """Changes nothing.

    names: words like `payment=payment-v1`: each address of the host name is a replica of the service
    """

    name = "advice"

    def __init__(self, names: Sequence[str], lookup: Lookup = look_up) -> None:
        self._hosts: dict[str, list[str]] = {}
        for word in names:
            service, _, host = word.partition("=")
            if not service or not host:
                raise ActuatorError(Failure.UNAVAILABLE, f"--names: {word!r} is no service=host")
            self._hosts.setdefault(service, []).append(host)
        self._lookup = lookup

    async def fleet(self, service: str) -> Fleet:
        """Replicas that have an address; a name is given to what runs, ready or not."""
        try:
            async with asyncio.timeout(_SECONDS):
                found = await asyncio.gather(*(self._lookup(host) for host in self._hosts.get(service, ())))
        except (OSError, TimeoutError) as error:
            raise ActuatorError(Failure.UNAVAILABLE, f"the names of {service} cannot be looked up: {error}") from error
        count = sum(len(addresses) for addresses in found)
        return Fleet(count, count)

    async def scale(self, service: str, *, before: int, to: int) -> str:
        """Says by which command."""
        _by_hand(f"make scale SERVICE={service} N={to}", f"{before} run now")

    async def restart(self, service: str) -> str:
        """Says by which command."""
        _by_hand(f"make restart SERVICE={service}", "each replica, one after the other")

    async def drain(self, service: str, seconds: float) -> str:
        """Says that there is none."""
        _by_hand(f"make restart SERVICE={service}", f"taking one out for {seconds:g} s has no command here")

    async def undrain(self, service: str, drained: str) -> str:
        """Nothing was drained."""
        _by_hand("nothing", f"{drained} of {service} was not taken out by this process")


def _by_hand(command: str, why: str) -> NoReturn:
    raise ActuatorError(Failure.UNSUPPORTED, f"not from in here, by hand: {command} ({why})")
