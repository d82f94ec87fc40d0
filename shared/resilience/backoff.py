"""How long to wait before the next attempt: tenacity's strategies, spread by jitter.

Jitter after "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). tenacity's own random strategies draw from
the global generator, so chance is added here, from the one that is injected.
"""

from random import Random
from typing import Any, cast

from tenacity import RetryCallState
from tenacity.wait import wait_base, wait_exponential

from shared.resilience.settings import RetryConfig


class Backoff:
    """The waits of one retry policy.

    strategy: any of tenacity's wait strategies; None: exponential, from the settings
    """

    def __init__(self, config: RetryConfig, random: Random, strategy: wait_base | None = None) -> None:
        self._config = config
        self._random = random
        self._strategy = strategy or wait_exponential(
            multiplier=config.wait_duration, exp_base=config.multiplier, max=config.max_wait
        )

    def wait(self, attempt: int, error: Exception | None, previous: float) -> float:
        """Seconds to wait after attempt number `attempt` failed; `previous`: the wait before that attempt, 0 for none.

        none: the strategy's wait. full: anywhere from 0 to it. equal: from half of it. decorrelated: from the first
        wait to three times the previous one, at most `max_wait`.
        """
        jitter = self._config.jitter
        if jitter == "decorrelated":
            first = self._config.wait_duration
            return min(self._config.max_wait, self._random.uniform(first, max(first, previous * 3)))
        ceiling = self._ceiling(attempt, error)
        if jitter == "none":
            return ceiling
        return self._random.uniform(ceiling / 2 if jitter == "equal" else 0, ceiling)

    def _ceiling(self, attempt: int, error: Exception | None) -> float:
        # Strategies read only the attempt's number and outcome; there is no tenacity retry object behind it.
        state = RetryCallState(retry_object=cast("Any", None), fn=None, args=(), kwargs={})
        state.attempt_number = attempt
        if error is not None:
            state.set_exception((type(error), error, error.__traceback__))
        return min(self._config.max_wait, max(0.0, float(self._strategy(state))))
