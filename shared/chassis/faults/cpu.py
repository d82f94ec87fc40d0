"""Processor time burnt by a thread that holds the interpreter, as a bad regular expression or a large parse would."""

import threading
import time

from shared.chassis.faults.active import Active, Kind
from shared.chassis.faults.requests import CpuFault

_PERIOD = 0.05
"""Seconds: each has its busy and its idle part."""


class CpuFaults(Kind[CpuFault]):
    """One thread a fault: the interpreter makes it yield every few milliseconds, so requests get slow, not stuck."""

    name = "cpu"

    def begin(self, fault: Active[CpuFault]) -> None:
        """Start to burn."""
        fault.strike()
        threading.Thread(target=_burn, args=(fault,), name=fault.id, daemon=True).start()


def _burn(fault: Active[CpuFault]) -> None:
    share = fault.request.share
    while fault.runs:
        began, spent = time.monotonic(), time.thread_time()
        # where others want the core too, it takes its share of what there is, and no longer than a period
        while time.thread_time() - spent < share * _PERIOD and time.monotonic() - began < _PERIOD:
            pass
        fault.wait(max(0.0, _PERIOD - (time.monotonic() - began)))
