"""What a test may switch off in the whole process, through `testing.set_testing`. The success path never looks here."""


class Mode:
    """As stamina has it: retries do not wait, and are as many as the test wants.

    attempts:   attempts that every retry makes at most; None: as configured
    cap:        `attempts` only lowers what is configured; else it replaces it
    wait:       retries and rate limiters wait as they do in earnest
    all_closed: no breaker opens, and one that is open admits
    """

    __slots__ = ("all_closed", "attempts", "cap", "wait")

    def __init__(self) -> None:
        self.attempts: int | None = None
        self.cap = False
        self.wait = True
        self.all_closed = False

    def attempts_of(self, configured: int) -> int:
        """How many attempts a retry with that setting makes."""
        if self.attempts is None:
            return configured
        return min(self.attempts, configured) if self.cap else self.attempts


MODE = Mode()
