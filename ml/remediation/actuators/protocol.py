"""What every actuator can be asked, and how it says that it could not."""

from enum import StrEnum
from typing import Protocol

from ml.remediation.limits import Fleet


class Failure(StrEnum):
    """Why an action did not happen. After `TIMEOUT` alone nobody knows whether it did."""

    CONFLICT = "conflict"
    TIMEOUT = "timeout"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    UNSUPPORTED = "unsupported"


class ActuatorError(Exception):
    """It was not done, or not all of it: `failure` says why, the text what exactly."""

    def __init__(self, failure: Failure, text: str) -> None:
        super().__init__(text)
        self.failure = failure


class Actuator(Protocol):
    """One place where services run. Every call is bounded in time and raises ActuatorError, nothing else."""

    @property
    def name(self) -> str:
        """As it stands in the audit."""
        ...

    async def fleet(self, service: str) -> Fleet:
        """How many replicas should run, and how many are ready."""
        ...

    async def scale(self, service: str, *, before: int, to: int) -> str:
        """Set the number of replicas, if it is still `before`; says what was done. CONFLICT: it is another one."""
        ...

    async def restart(self, service: str) -> str:
        """Restart the replicas one after the other, each ready before the next; says which.

        REFUSED: nobody would serve meanwhile.
        """
        ...

    async def drain(self, service: str, seconds: float) -> str:
        """Take one replica out of the mesh; it comes back by itself after that time. Returns which: see `undrain`."""
        ...

    async def undrain(self, service: str, drained: str) -> str:
        """Put a replica back before its time; one that is back already is no error."""
        ...
