"""A memory for keys that fails on purpose: a repeated request is taken for a new one."""

from random import Random

from shared.chassis.faults.active import Active, Kind, Refused
from shared.chassis.faults.requests import IdempotencyFault


class IdempotencyFaults(Kind[IdempotencyFault]):
    """`remembered`: the service has keys to forget, and asks here before it relies on one."""

    name = "idempotency"

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self.remembered = False

    def check(self, _request: IdempotencyFault) -> None:
        """Refuse what would never strike."""
        if not self.remembered:
            raise Refused("this service remembers no keys that it could forget", field="kind")

    def striking(self) -> Active[IdempotencyFault] | None:
        """The fault that a request whose key is known meets now."""
        return next((fault for fault in self.running() if self.draw(fault.request.rate)), None)
