"""A leak: memory that is taken, written to and not given back before the end.

Where the process has a limit a leak ends as real ones do: it leaves nothing, neither pages nor what the process has
free in its heap, and takes what others give back. Then requests fail for want of memory.
"""

import mmap
import threading
import time

import structlog

from shared.chassis.faults.active import Active, Kind, Refused
from shared.chassis.faults.requests import MOST_MEMORY_MB, MemoryFault

_MEGABYTE = 1024 * 1024
_SMALLEST = 64 * 1024
_ONES = b"\1" * _MEGABYTE
_BLOCKS = (32_768, 4_096, 448)
"""Sizes of what is taken of the heap: its large free pieces, its small ones, and Python's own for small objects."""
_BREATH_SECONDS = 0.05

log = structlog.get_logger()


class MemoryFaults(Kind[MemoryFault]):
    """One thread a fault. It maps pages of its own: closed, they go back to the system at once."""

    name = "memory"

    def check(self, request: MemoryFault) -> None:
        """Refuse what would be too much together."""
        taken = sum(fault.request.max_mb for fault in self.running())
        if taken + request.max_mb > MOST_MEMORY_MB:
            left = MOST_MEMORY_MB - taken
            raise Refused(f"all leaks together take at most {MOST_MEMORY_MB} MB: {left} are left", field="max_mb")

    def begin(self, fault: Active[MemoryFault]) -> None:
        """Start to leak."""
        threading.Thread(target=_leak, args=(fault,), name=fault.id, daemon=True).start()


def _leak(fault: Active[MemoryFault]) -> None:
    leaked: list[mmap.mmap] = []
    heap: list[bytearray] = []
    left, starved = fault.request.max_mb * _MEGABYTE, False
    try:
        while True:
            try:
                if not fault.runs or fault.wait(1 / fault.request.mb_per_second):
                    return
                taken = _take(leaked, min(_MEGABYTE, left))
                if taken < _SMALLEST:
                    taken += _take_heap(heap, min(_MEGABYTE, left) - taken)
                left -= taken
                if taken:
                    fault.strike()
                if left and taken < _MEGABYTE and not starved:
                    starved = True
                    log.warning("fault has taken all memory there is", fault=fault.id, mb=len(leaked))
            except MemoryError:  # even waiting needs some, and a leak does not end because of that
                time.sleep(_BREATH_SECONDS)
    finally:
        heap.clear()
        for piece in leaked:
            piece.close()


def _take(leaked: list[mmap.mmap], wanted: int) -> int:
    """Take so many bytes, in pieces where there is no whole one any more; returns how many there were."""
    taken, size = 0, wanted
    while size >= _SMALLEST and taken < wanted:
        try:
            leaked.append(_mapped(size))
        except (OSError, MemoryError):
            size //= 2
        else:
            taken += size
    return taken


def _take_heap(kept: list[bytearray], wanted: int) -> int:
    """Take so many bytes of what the heap has free; returns how many there were."""
    taken = 0
    for size in _BLOCKS:
        try:
            while taken + size <= wanted:
                kept.append(bytearray(size))
                taken += size
        except MemoryError:
            continue
    return taken


def _mapped(size: int) -> mmap.mmap:
    # private, as an allocator's is: shared memory would not count towards the limit on the process's data
    taken = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    taken.write(memoryview(_ONES)[:size])  # memory that nobody has written to is none
    return taken
