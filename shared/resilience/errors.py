"""What the library raises.

    ResilienceError
    ├── CallNotPermitted      the breaker refused                        attempted = False
    ├── RateLimitExceeded     no permission in time                      attempted = False
    ├── BulkheadFull          no free slot in time                       attempted = False
    ├── SyncCallableError     not awaitable (also a TypeError)           attempted = False
    ├── DeadlineExceeded      the caller's time is up (also a TimeoutError)
    ├── AttemptTimeout        one attempt took too long (also a TimeoutError)
    ├── FaultRefused          that fault may not be injected (also a ValueError)
    └── ConfigError           the configuration is wrong: file:line: reason

`attempted` says whether the dependency may have seen the call. What was never attempted is not its failure: no breaker
records it, no retry repeats it.

There is no "retries exhausted": the last real error is raised, with a note of how many attempts were made.
"""

from pathlib import Path


class ResilienceError(Exception):
    """Base of everything that this library raises by itself."""

    attempted: bool = True


class CallNotPermitted(ResilienceError):
    """A circuit breaker refused the call.

    breaker:     the breaker's name
    state:       its state, as in the metrics: "open", "half_open", "forced_open"
    retry_after: seconds until asking again makes sense, never negative; an estimate unless the state is "open"
    """

    attempted = False

    def __init__(self, breaker: str, state: str, retry_after: float) -> None:
        super().__init__(f"circuit breaker {breaker!r} is {state}; ask again in {retry_after:.3g} s")
        self.breaker = breaker
        self.state = state
        self.retry_after = retry_after


class RateLimitExceeded(ResilienceError):
    """As many calls as are allowed have begun in this period, and the wait for a later one is too long.

    limiter:     the limiter's name
    reason:      what the wait does not fit: "wait" (timeout_duration), "deadline", or "queue_full"
    retry_after: seconds until it would have been this call's turn
    """

    attempted = False

    def __init__(self, limiter: str, reason: str, retry_after: float) -> None:
        super().__init__(f"rate limiter {limiter!r}: no permission in time ({reason}); ask in {retry_after:.3g} s")
        self.limiter = limiter
        self.reason = reason
        self.retry_after = retry_after


class BulkheadFull(ResilienceError):
    """All slots stayed taken for as long as the call was allowed to wait, or the queue itself is full.

    bulkhead:    the bulkhead's name
    retry_after: seconds after which asking again makes sense (the longest wait that the bulkhead allows)
    """

    attempted = False

    def __init__(self, bulkhead: str, reason: str, retry_after: float) -> None:
        super().__init__(f"bulkhead {bulkhead!r} is full: {reason}")
        self.bulkhead = bulkhead
        self.retry_after = retry_after


class DeadlineExceeded(ResilienceError, TimeoutError):
    """The time that remained to the caller is over.

    attempted: False when the call was refused before it was sent, True when it was cut short
    impatient: cut short after less than half of the time that an attempt may take, which says something about the
        caller, and nothing about the dependency
    """

    def __init__(self, name: str, *, attempted: bool, impatient: bool = False) -> None:
        super().__init__(f"{name!r}: the deadline passed {'during' if attempted else 'before'} the attempt")
        self.name = name
        self.attempted = attempted
        self.impatient = impatient


class AttemptTimeout(ResilienceError, TimeoutError):
    """One attempt took longer than its `duration` in seconds, and was cancelled."""

    def __init__(self, name: str, duration: float) -> None:
        super().__init__(f"{name!r}: no answer within {duration:g} s")
        self.name = name
        self.duration = duration


class SyncCallableError(ResilienceError, TypeError):
    """What was to be guarded cannot be awaited; a blocking call would stop the event loop."""

    attempted = False

    def __init__(self, fn: object) -> None:
        name = getattr(fn, "__qualname__", None) or repr(fn)
        super().__init__(f"{name} is not a coroutine function; wrap a blocking call in asyncio.to_thread")


class FaultRefused(ResilienceError, ValueError):
    """A fault that may not be injected: without a time to live, for too long, too many, or what makes no sense."""

    attempted = False


class ConfigError(ResilienceError):
    """A setting is wrong. The message is `file:line: reason`, so that an editor can jump to it."""

    attempted = False

    def __init__(self, file: Path | str, line: int, reason: str) -> None:
        super().__init__(f"{file}:{line}: {reason}")
        self.file = str(file)
        self.line = line
        self.reason = reason


class SeenError(Exception):
    """What the history keeps of an error: its kind and its text.

    The error itself would keep alive every frame that it passed through, and with it the data of that call.
    """

    def __init__(self, error: Exception) -> None:
        try:
            text = str(error)
        except Exception:  # noqa: BLE001 - a call must not fail because its error cannot be shown
            text = "(its text cannot be read)"
        super().__init__(text)
        self.kind = type(error).__name__

    def __repr__(self) -> str:
        return f"{self.kind}({str(self)!r})"
