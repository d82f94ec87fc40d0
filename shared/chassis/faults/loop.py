"""An event loop that is blocked, as by a call of a library that waits."""

import asyncio

from shared.chassis.faults.active import Active, Kind
from shared.chassis.faults.requests import LoopFault

_FIRST_AFTER = 0.02
"""Seconds: whoever asks for it gets the answer first."""


class LoopFaults(Kind[LoopFault]):
    """Blocks by waiting for the end of the fault: a timer's thread can end it in the middle of a block."""

    name = "loop"

    def begin(self, fault: Active[LoopFault]) -> None:
        """Block soon, and again and again."""
        asyncio.get_running_loop().call_later(_FIRST_AFTER, self._block, fault)

    def _block(self, fault: Active[LoopFault]) -> None:
        if not fault.runs:
            return
        fault.strike()
        block, every = fault.request.block_ms / 1000, fault.request.every_ms / 1000
        if not fault.wait(block):
            asyncio.get_running_loop().call_later(every - block, self._block, fault)
