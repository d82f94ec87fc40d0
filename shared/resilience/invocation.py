"""One call on its way through the layers of a pipeline."""

from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextvars import ContextVar
from types import CoroutineType
from typing import Any, TypeAlias

from shared.resilience.errors import SyncCallableError

NEVER = float("inf")
ATTEMPT: ContextVar[int] = ContextVar("holdfast_attempt", default=1)


def current_attempt() -> int:
    """The number of the attempt that runs in this context: 1, or more for a retry or a hedge.

    A pipeline inside a retried call goes on counting from the outer attempt: its calls are repeats too.
    """
    return ATTEMPT.get()


class Invocation:
    """What is called, and what the layers have to know about it.

    fn, args, kwargs: the guarded call
    idempotent:       safe to repeat: may be retried and hedged
    fallback:         the fallbacks of this very call, tried before those of the pipeline
    cache_key:        what the answer is kept under, and shared; None: it is not
    deadline:         the monotonic instant at which the caller stops waiting; `NEVER` when there is none
    """

    __slots__ = ("args", "cache_key", "deadline", "fallback", "fn", "idempotent", "kwargs")

    def __init__(
        self,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        idempotent: bool = False,
        fallback: Any = None,
        cache_key: Hashable | None = None,
    ) -> None:
        self.fn = fn
        self.args = args
        self.kwargs = kwargs or {}
        self.idempotent = idempotent
        self.fallback = fallback
        self.cache_key = cache_key
        self.deadline = NEVER


Step: TypeAlias = Callable[[Invocation], Awaitable[Any]]


def attempt(invocation: Invocation) -> Awaitable[Any]:
    """The innermost step: make the call.

    SyncCallableError: what came back cannot be awaited. (A lambda that returns an awaitable is fine, so the
    callable's own kind says nothing.)
    """
    awaitable = invocation.fn(*invocation.args, **invocation.kwargs)
    if type(awaitable) is not CoroutineType and not isinstance(awaitable, Awaitable):
        raise SyncCallableError(invocation.fn)
    return awaitable
