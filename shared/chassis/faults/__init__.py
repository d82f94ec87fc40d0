"""Faults on purpose, inside a service: what breaks, how, and for how long.

    faults = Faults(metrics, database)
    fault = faults.inject(HttpFault(kind="http", path="/process", latency_ms=300, seconds=20))
    faults.clear(fault.id)

Each fault has a time to live and ends by itself, by a thread of its own: neither the operator who began it nor the
event loop is needed for that. Where none is active, each of the places that could be struck looks at one attribute.
"""

from shared.chassis.faults.active import Active, Refused
from shared.chassis.faults.registry import MOST_FAULTS, Faults
from shared.chassis.faults.requests import (
    KINDS,
    LONGEST_SECONDS,
    ClockFault,
    CpuFault,
    DatabaseFault,
    DiskFault,
    FaultRequest,
    HttpFault,
    IdempotencyFault,
    LoopFault,
    MemoryFault,
    NetworkFault,
    PoolFault,
)

__all__ = [
    "KINDS",
    "LONGEST_SECONDS",
    "MOST_FAULTS",
    "Active",
    "ClockFault",
    "CpuFault",
    "DatabaseFault",
    "DiskFault",
    "FaultRequest",
    "Faults",
    "HttpFault",
    "IdempotencyFault",
    "LoopFault",
    "MemoryFault",
    "NetworkFault",
    "PoolFault",
    "Refused",
]
