"""Calls that go out. Which of them fail is decided here, how is in `transport.py`, where the HTTP client is known."""

from random import Random

from shared.chassis.faults.active import Active, Kind, Refused
from shared.chassis.faults.requests import NetworkFault


class NetworkFaults(Kind[NetworkFault]):
    """`called` are the services that this one calls, and whether by a name: addresses are not looked up."""

    name = "network"

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self.called: dict[str, bool] = {}

    def check(self, request: NetworkFault) -> None:
        """Refuse what would never strike."""
        if not self.called:
            raise Refused("this service calls no other", field="to")
        if request.to is not None and request.to not in self.called:
            raise Refused(f"this service calls only {', '.join(sorted(self.called))}", field="to")
        if not any(self._concerns(request, service) for service in self.called):
            raise Refused("it is called by its address, which nobody looks up", field="error")

    def striking(self, service: str) -> Active[NetworkFault] | None:
        """The fault that a call to `service` meets now."""
        for fault in self.running():
            if self._concerns(fault.request, service) and _is_on(fault) and self.draw(fault.request.rate):
                return fault
        return None

    def _concerns(self, request: NetworkFault, service: str) -> bool:
        return request.to in (None, service) and (request.error != "dns" or self.called[service])


def _is_on(fault: Active[NetworkFault]) -> bool:
    on, off = fault.request.on_ms, fault.request.off_ms
    if on is None or off is None:
        return True
    return fault.age * 1000 % (on + off) < on
