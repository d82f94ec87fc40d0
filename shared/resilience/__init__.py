"""The resilient client library: its public names. Start with `Pipeline` or `Registry`; docs/resilience.md teaches."""

from shared.resilience.budget import BudgetSnapshot, RetryBudget
from shared.resilience.bulkhead import Bulkhead, BulkheadSnapshot
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
    ResilienceError,
    SyncCallableError,
)
from shared.resilience.events import Event, EventBus, SeenError
from shared.resilience.fallback import Fallback
from shared.resilience.invocation import current_attempt
from shared.resilience.pipeline import Pipeline
from shared.resilience.registry import Registry
from shared.resilience.settings import (
    BudgetConfig,
    BulkheadConfig,
    CircuitBreakerConfig,
    HedgeConfig,
    InstanceConfig,
    RetryConfig,
    TimeoutConfig,
)

__all__ = [
    "DEADLINE_HEADER",
    "SYSTEM_CLOCK",
    "AttemptTimeout",
    "BudgetConfig",
    "BudgetSnapshot",
    "Bulkhead",
    "BulkheadConfig",
    "BulkheadFull",
    "BulkheadSnapshot",
    "CallNotPermitted",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitBreakerSnapshot",
    "Clock",
    "ConfigError",
    "DeadlineExceeded",
    "Event",
    "EventBus",
    "Fallback",
    "HedgeConfig",
    "IllegalTransitionError",
    "InstanceConfig",
    "Permit",
    "Pipeline",
    "Registry",
    "ResilienceConfig",
    "ResilienceError",
    "RetryBudget",
    "RetryConfig",
    "SeenError",
    "State",
    "SyncCallableError",
    "SystemClock",
    "TimeoutConfig",
    "Timer",
    "current_attempt",
    "deadline",
    "format_deadline",
    "parse_deadline",
    "remaining",
]
