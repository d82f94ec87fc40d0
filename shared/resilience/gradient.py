"""How many calls at once a dependency takes, found out from how long they take: Gradient2.

After Netflix's concurrency-limits (`Gradient2Limit`). While a dependency keeps up, an answer takes as long whether ten
or twenty calls are out; when it does not, they queue there, and latency rises with their number. So the limit follows
the ratio of the usual latency to the present one, with some room for growth:

    gradient = tolerance * usual / present, held between 0.5 and 1
    room     = queue_size * (2 * gradient - 1)
    limit    = (1 - smoothing) * limit + smoothing * (limit * gradient + room)

Four things differ from the original. There the room is always queue_size, which keeps any limit above twice that,
however slow the dependency becomes; here it closes as the gradient falls. Dropped calls shrink the limit, by their
share of the window. The usual latency does not rise while more calls are out than when it was measured: the original
takes a queue that lasts for the usual state, so that under steady overload its limit creeps up to the maximum. And at
the lowest limit, where no queue can be ours, a latency that stays high soon becomes the usual one.
"""

from shared.resilience.settings import AdaptiveBulkheadConfig

_LEAST_GRADIENT = 0.5
# Of the usual latency, per window, when it is clearly out of date.
_CORRECTION = 0.05
# So many windows are averaged plainly before older ones begin to fade.
_WARM_UP = 10


class Gradient:
    """The estimate of one bulkhead; `limit` is always within min_limit..max_limit.

    present, usual: latency in seconds, of the last window and in the long run; 0 before the first window
    """

    __slots__ = (
        "_calm",
        "_config",
        "_dropped",
        "_ends",
        "_estimate",
        "_most_active",
        "_samples",
        "_seconds",
        "_windows",
        "limit",
        "present",
        "usual",
    )

    def __init__(self, config: AdaptiveBulkheadConfig, now: float) -> None:
        self._config = config
        self._estimate = float(config.initial_limit)
        self.limit = config.initial_limit
        self.present = self.usual = 0.0
        self._windows = 0
        # The most calls that were out at once when latency was no more than usual.
        self._calm = 0
        # The window that is filling: its end, its calls, and the most of them that were out at once.
        self._ends = now + config.window
        self._samples = self._dropped = self._most_active = 0
        self._seconds = 0.0

    def record(self, now: float, elapsed: float, active: int, *, dropped: bool) -> bool:
        """Take in a call that ended at `now` after `elapsed` seconds, beside `active` - 1 others.

        dropped: it timed out or was turned away. Returns whether `limit` has changed.
        """
        self._samples += 1
        self._seconds += elapsed
        self._dropped += dropped
        if active > self._most_active:
            self._most_active = active
        if now < self._ends or self._samples < self._config.window_calls:
            return False
        before = self.limit
        self._judge()
        self._begin(now)
        return self.limit != before

    def reconfigure(self, config: AdaptiveBulkheadConfig) -> None:
        """Use `config` from now on; the window under way ends as it was begun."""
        self._config = config
        self._estimate = max(float(config.min_limit), min(float(config.max_limit), self._estimate))
        self.limit = int(self._estimate)

    def _begin(self, now: float) -> None:
        self._ends = now + self._config.window
        self._samples = self._dropped = self._most_active = 0
        self._seconds = 0.0

    def _judge(self) -> None:
        """The window is over: adjust the limit, then what is usual."""
        config = self._config
        self.present = self._seconds / self._samples
        busy = self._most_active >= self._estimate / 2
        usual = self.usual or self.present
        gradient = max(_LEAST_GRADIENT, min(1.0, config.tolerance * usual / self.present)) if self.present else 1.0
        if self._dropped:
            share = self._dropped / self._samples
            wanted = self._estimate * max(_LEAST_GRADIENT, gradient * (1 - share))
            self._move_to(wanted)
        # A limit that is not used tells nothing about whether a higher one would do.
        elif busy:
            self._move_to(self._estimate * gradient + config.queue_size * (2 * gradient - 1))
        self._learn_usual(busy)

    def _move_to(self, wanted: float) -> None:
        config = self._config
        estimate = self._estimate * (1 - config.smoothing) + wanted * config.smoothing
        self._estimate = max(float(config.min_limit), min(float(config.max_limit), estimate))
        self.limit = int(self._estimate)

    def _learn_usual(self, busy: bool) -> None:
        present, usual = self.present, self.usual
        self._windows += 1
        if self._windows <= _WARM_UP:
            self.usual += (present - usual) / self._windows
            self._calm = max(self._calm, self._most_active)
            return
        if present <= usual:
            self._calm = self._most_active
        if usual > 2 * present:
            # Back from a long overload: what was usual then is so no more.
            self.usual = usual * (1 - _CORRECTION)
        elif self.limit <= self._config.min_limit and present > usual * self._config.tolerance:
            self.usual = usual * (1 + _CORRECTION)
        elif present <= usual or self._most_active <= self._calm or not busy:
            self.usual += (present - usual) * 2 / (self._config.long_window + 1)
