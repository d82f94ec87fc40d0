"""The resilient client library: its public names. Start with `Pipeline` or `Registry`; docs/resilience.md teaches."""

from shared.resilience.adaptive_bulkhead import AdaptiveBulkhead
from shared.resilience.asgi import DeadlineMiddleware, WithinDeadline
from shared.resilience.budget import BudgetSnapshot, RetryBudget
from shared.resilience.bulkhead import Bulkhead, BulkheadSnapshot
from shared.resilience.cache import Cache, CacheSnapshot
from shared.resilience.circuit_breaker import (
    CircuitBreaker,
    CircuitBreakerSnapshot,
    IllegalTransitionError,
    Permit,
    State,
)
from shared.resilience.clock import SYSTEM_CLOCK, Clock, SystemClock, Timer
from shared.resilience.config import ResilienceConfig
from shared.resilience.deadline import DEADLINE_HEADER, deadline, format_deadline, parse_deadline, remaining
from shared.resilience.errors import (
    AttemptTimeout,
    BulkheadFull,
    CallNotPermitted,
    ConfigError,
    DeadlineExceeded,
    FaultRefused,
    RateLimitExceeded,
    ResilienceError,
    SeenError,
    SyncCallableError,
)
from shared.resilience.events import Event, EventBus
from shared.resilience.fallback import Fallback
from shared.resilience.faults import Fault, Faults, FaultSnapshot
from shared.resilience.invocation import current_attempt
from shared.resilience.pipeline import Pipeline
from shared.resilience.rate_limiter import RateLimiter, RateLimiterSnapshot
from shared.resilience.registry import Registry
from shared.resilience.settings import (
    AdaptiveBulkheadConfig,
    BudgetConfig,
    BulkheadConfig,
    CacheConfig,
    CircuitBreakerConfig,
    HedgeConfig,
    InstanceConfig,
    RateLimiterConfig,
    RetryConfig,
    TimeoutConfig,
)
from shared.resilience.sharing import SharedBreakers, SharedState, TransitionStore
from shared.resilience.spring import SpringConfig, load_spring
from shared.resilience.watcher import ConfigWatcher

__all__ = [
    "DEADLINE_HEADER",
    "SYSTEM_CLOCK",
    "AdaptiveBulkhead",
    "AdaptiveBulkheadConfig",
    "AttemptTimeout",
    "BudgetConfig",
    "BudgetSnapshot",
    "Bulkhead",
    "BulkheadConfig",
    "BulkheadFull",
    "BulkheadSnapshot",
    "Cache",
    "CacheConfig",
    "CacheSnapshot",
    "CallNotPermitted",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitBreakerSnapshot",
    "Clock",
    "ConfigError",
    "ConfigWatcher",
    "DeadlineExceeded",
    "DeadlineMiddleware",
    "Event",
    "EventBus",
    "Fallback",
    "Fault",
    "FaultRefused",
    "FaultSnapshot",
    "Faults",
    "HedgeConfig",
    "IllegalTransitionError",
    "InstanceConfig",
    "Permit",
    "Pipeline",
    "RateLimitExceeded",
    "RateLimiter",
    "RateLimiterConfig",
    "RateLimiterSnapshot",
    "Registry",
    "ResilienceConfig",
    "ResilienceError",
    "RetryBudget",
    "RetryConfig",
    "SeenError",
    "SharedBreakers",
    "SharedState",
    "SpringConfig",
    "State",
    "SyncCallableError",
    "SystemClock",
    "TimeoutConfig",
    "Timer",
    "TransitionStore",
    "WithinDeadline",
    "current_attempt",
    "deadline",
    "format_deadline",
    "load_spring",
    "parse_deadline",
    "remaining",
]
