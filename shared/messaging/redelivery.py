"""When a message that could not be handled comes again, and when it has come often enough."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RedeliveryPolicy:
    """Times in seconds. With the defaults a message is tried for about a minute and a half.

    After the n-th failed delivery the next one waits `first_wait * multiplier ** (n - 1)`, at most `max_wait`. A
    delivery that is neither settled nor reported as in progress within `ack_wait` (its worker was killed) comes again.
    """

    max_deliveries: int = 12
    first_wait: float = 0.5
    multiplier: float = 2.0
    max_wait: float = 10.0
    ack_wait: float = 10.0

    def __post_init__(self) -> None:
        if self.max_deliveries < 1 or self.multiplier < 1 or self.ack_wait <= 0 or self.first_wait < 0:
            raise ValueError(f"not a redelivery policy: {self}")

    def wait_after(self, deliveries: int) -> float:
        """Seconds until the next delivery, when this many have failed."""
        exponent = min(deliveries - 1, 64)  # beyond it any sensible wait has met its limit, and floats overflow
        return min(self.first_wait * self.multiplier**exponent, self.max_wait)
