"""The breaker's states and how it moves between them; what a call has to do with them stands in `breaker.py`."""

import contextlib
from typing import NewType

from shared.resilience.circuit_breaker import rules
from shared.resilience.circuit_breaker.state import ADMITTING, IllegalTransitionError, State, log_transition
from shared.resilience.circuit_breaker.windows import CountWindow, TimeWindow
from shared.resilience.clock import SYSTEM_CLOCK, Clock, Timer
from shared.resilience.events import BreakerReset, EventBus, StateTransition
from shared.resilience.settings import CircuitBreakerConfig

# The generation of the state that admitted the call. An outcome that comes back with another one is not charged.
Permit = NewType("Permit", int)


class StateMachine:
    """The six states of one breaker, its window, its trials and its timer."""

    def __init__(
        self,
        name: str,
        config: CircuitBreakerConfig | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        events: EventBus | None = None,
    ) -> None:
        self.name = name
        self.config = config or CircuitBreakerConfig()
        self.events = events or EventBus()
        self._clock = clock
        self._now = clock.monotonic
        self._state = State.CLOSED
        self._admitting = True
        self._generation = Permit(1)
        self._window: CountWindow | TimeWindow = rules.fresh_window(self.config, self._now)
        self._minimum = rules.minimum_of_window(self.config)
        self._reported: frozenset[str] = frozenset()
        self._reopenings = 0
        self._trials_left = self._trials_running = 0
        self._stays_until = float("inf")
        self._timer: Timer | None = None

    def reconfigure(self, config: CircuitBreakerConfig) -> None:
        """Use `config` from now on; the state stays.

        So does the window, unless its type or size has changed: then it begins anew, empty. A wait or a trial that is
        under way ends as it was begun.
        """
        before, self.config = self.config, config
        if self._admitting:
            if rules.window_shape(before) != rules.window_shape(config):
                self._window = rules.fresh_window(config, self._now)
            self._minimum = rules.minimum_of_window(config)
        if self._state is State.OPEN and before.automatic_transition != config.automatic_transition:
            self._disarm()
            if config.automatic_transition:
                self._arm(max(0.0, self._stays_until - self._now()))

    @property
    def state(self) -> State:
        """The present state. Reading it changes nothing, even when the open wait is over."""
        return self._state

    def transition_to_closed(self) -> None:
        """Admit calls again, with an empty window and the open wait back at its beginning."""
        self._transition(State.CLOSED)

    def transition_to_open(self, wait: float | None = None) -> None:
        """Refuse calls for `wait` seconds (None: as configured). When OPEN already, the wait starts anew."""
        self._transition(State.OPEN, wait)

    def transition_to_half_open(self) -> None:
        """Admit the trial calls. IllegalTransitionError: CLOSED."""
        self._transition(State.HALF_OPEN)

    def transition_to_forced_open(self) -> None:
        """Refuse all calls until told otherwise."""
        self._transition(State.FORCED_OPEN)

    def transition_to_disabled(self) -> None:
        """Admit all calls and record nothing."""
        self._transition(State.DISABLED)

    def transition_to_metrics_only(self) -> None:
        """Admit all calls, record them, and never open."""
        self._transition(State.METRICS_ONLY)

    def reset(self) -> None:
        """CLOSED with an empty window, from any state."""
        self._transition(State.CLOSED)
        self.events.publish(BreakerReset(self.name, self._now()))

    def _transition(self, after: State, wait: float | None = None) -> None:
        before = self._state
        if before is State.CLOSED and after is State.HALF_OPEN:
            raise IllegalTransitionError(self.name, before, after)
        self._disarm()
        # All of the new state is in place before anybody hears of it.
        self._generation = Permit(self._generation + 1)
        self._state = after
        self._admitting = after in ADMITTING
        self._reported = frozenset()
        self._trials_left = self._trials_running = 0
        self._stays_until = float("inf")
        if after is State.OPEN:
            self._enter_open(before, wait)
        elif after is State.HALF_OPEN:
            self._enter_half_open()
        else:
            self._window = rules.fresh_window(self.config, self._now)
            self._minimum = rules.minimum_of_window(self.config)
        if after is State.CLOSED:
            self._reopenings = 0
        if before is not after:
            self._announce(before, after)

    def _enter_open(self, before: State, wait: float | None) -> None:
        # The window that tripped the breaker stays readable.
        if before is State.HALF_OPEN:
            self._reopenings += 1
        wait = rules.open_wait(self.config, self._reopenings) if wait is None else wait
        self._stays_until = self._now() + wait
        if self.config.automatic_transition:
            self._arm(wait)

    def _enter_half_open(self) -> None:
        permitted = self.config.permitted_calls_in_half_open
        self._window = CountWindow(permitted)
        self._minimum = min(self.config.minimum_number_of_calls, permitted)
        self._trials_left = permitted
        if longest := self.config.max_wait_duration_in_half_open:
            self._stays_until = self._now() + longest
            self._arm(longest)

    def _arm(self, delay: float) -> None:
        # Without a running loop nothing can fire; the next acquire looks at the time by itself.
        with contextlib.suppress(RuntimeError):
            self._timer = self._clock.call_later(delay, self._stay_is_over)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stay_is_over(self) -> None:
        self._transition(State.HALF_OPEN if self._state is State.OPEN else State.OPEN)

    def _announce(self, before: State, after: State) -> None:
        log_transition(self.name, before, after, self._retry_after())
        self.events.publish(StateTransition(self.name, self._now(), before, after))

    def _retry_after(self) -> float:
        wait = rules.open_wait(self.config, self._reopenings)
        if self._state is State.OPEN:
            return max(0.0, self._stays_until - self._now())
        if self._state is State.HALF_OPEN:
            return max(0.0, min(wait, self._stays_until - self._now()))
        return wait
