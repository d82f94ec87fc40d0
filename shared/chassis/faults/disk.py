"""A disk that takes nothing more: the system itself refuses what this process writes to files."""

import resource
from random import Random

from shared.chassis.database import Database
from shared.chassis.faults.active import Active, Kind, Refused
from shared.chassis.faults.requests import DiskFault


class DiskFaults(Kind[DiskFault]):
    """Lowers the process's limit on the size of files to nothing, and raises it again at the end.

    Every write to a file then fails with EFBIG, at whatever offset, where a full disk fails with ENOSPC: SQLite finds
    out in the middle of a commit. Pipes and sockets are no files: logs and answers go on.
    """

    name = "disk"

    def __init__(self, random: Random, database: Database) -> None:
        super().__init__(random)
        self._database = database
        self._before: tuple[int, int] | None = None

    def check(self, request: DiskFault) -> None:  # noqa: ARG002 - it has nothing but a time to live
        """Refuse where the database writes elsewhere, and a second one: the end of the first would end both."""
        if not self._database.is_sqlite:
            raise Refused("the database's files are not this process's: kind database, error full", field="kind")
        if self._before is not None:
            raise Refused("the disk is full already")

    def begin(self, fault: Active[DiskFault]) -> None:
        """Refuse writes from now on. Python ignores the signal that would end the process."""
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, self._before[1]))
        fault.strike()

    def end(self, fault: Active[DiskFault]) -> None:  # noqa: ARG002 - there is only one
        """Take writes again."""
        if self._before is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, self._before)
            self._before = None
