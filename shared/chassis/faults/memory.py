"""A leak: memory that is taken, written to and not given back before the end."""

import mmap
import threading

import structlog

from shared.chassis.faults.active import Active, Kind, Refused
from shared.chassis.faults.requests import MOST_MEMORY_MB, MemoryFault

_MEGABYTE = 1024 * 1024
_PAGE = b"\1" * _MEGABYTE

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
    try:
        while not fault.wait(1 / fault.request.mb_per_second):
            if len(leaked) < fault.request.max_mb:
                leaked.append(_megabyte())
                fault.strike()
    except (OSError, MemoryError) as error:
        log.warning("fault cannot take more memory", fault=fault.id, mb=len(leaked), error=str(error))
        fault.wait(fault.left)
    finally:
        for megabyte in leaked:
            megabyte.close()


def _megabyte() -> mmap.mmap:
    # private, as an allocator's is: shared memory would not count towards the limit on the process's data
    taken = mmap.mmap(-1, _MEGABYTE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    taken.write(_PAGE)  # memory that nobody has written to is none
    return taken
