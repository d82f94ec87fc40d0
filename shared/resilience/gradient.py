"""How many calls at once a dependency takes, found out from how long they take: Gradient2.

After Netflix's concurrency-limits (`Gradient2Limit`). While a dependency keeps up, an answer takes as long whether ten
or twenty calls are out; when it does not, they queue there, and latency rises with their number. So the limit follows
the ratio of the usual latency to the present one, with some room for growth:

    gradient = tolerance * usual / present, held between 0.5 and 1
    limit    = (1 - smoothing) * limit + smoothing * (limit * gradient + queue_size)

Three things differ from the original. Dropped calls shrink the limit, by their share of the window. The usual latency
does not rise while the limit itself may be what raises it: Gradient2 takes a queue that lasts for the usual state, and
under steady overload its limit creeps up to the maximum. And at the lowest limit, where no queue can be ours, a
latency that stays high becomes the usual one at once rather than in the time of a long window.
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
            self._move_to(self._estimate * gradient + config.queue_size)
        self._learn_usual(busy)

    def _move_to(self, wanted: float) -> None:
        config = self._config
        estimate = self._estimate * (1 - config.smoothing) + wanted * config.smoothing
        self._estimate = max(float(config.min_limit), min(float(config.max_limit), estimate))
        self.limit = int(self._estimate)

    def _learn_usual(self, busy: bool) -> None:
        present, usual = self.present, self.usual
        lowest = self._estimate <= self._config.min_limit
        self._windows += 1
        if self._windows <= _WARM_UP:
            self.usual += (present - usual) / self._windows
        elif usual > 2 * present:
            # Back from a long overload: what was usual then is so no more.
            self.usual = usual * (1 - _CORRECTION)
        elif lowest and present > usual * self._config.tolerance:
            self.usual = usual * (1 + _CORRECTION)
        elif present <= usual or lowest or not busy:
            self.usual += (present - usual) * 2 / (self._config.long_window + 1)
