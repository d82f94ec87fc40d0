"""The circuit breaker, its states and its windows."""

from shared.resilience.circuit_breaker.breaker import CircuitBreaker
from shared.resilience.circuit_breaker.machine import Permit
from shared.resilience.circuit_breaker.state import CircuitBreakerSnapshot, IllegalTransitionError, State, Total

__all__ = ["CircuitBreaker", "CircuitBreakerSnapshot", "IllegalTransitionError", "Permit", "State", "Total"]
