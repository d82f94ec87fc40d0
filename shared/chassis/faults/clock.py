"""The time of day, wrong on purpose: the clock that a service's parts are given."""

import time

from shared.chassis.faults.active import Active, Kind
from shared.chassis.faults.requests import ClockFault


class ClockFaults(Kind[ClockFault]):
    """A `shared.chassis.clock.Clock`: the machine's, shifted by all faults together.

    Holds, leases, tokens and what tables store follow it. Log lines and spans do not: they tell what really happened.
    """

    name = "clock"

    def begin(self, fault: Active[ClockFault]) -> None:
        """Nothing to start: the time is asked for."""
        fault.strike()

    def now(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z, as far as this service knows."""
        if not self.active:
            return time.time()
        return time.time() + sum(fault.request.offset_seconds for fault in self.running())
