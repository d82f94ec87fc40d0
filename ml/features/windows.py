"""From signals to features: what a window of minutes says about where each signal is going.

The same function makes the rows of a training set and the one row of a live prediction, so the two cannot differ. A
row at minute t uses minutes up to t and nothing later; where a window holds too few numbers the feature is NaN.
"""

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from ml.features.signals import NAMES, SIGNALS

Matrix = npt.NDArray[np.float64]

SHORT, MIDDLE, LONG = 5, 15, 30
"""Minutes."""

HISTORY = LONG
"""Minutes that a row needs."""

_MOST_MINUTES = 120.0
"""A limit further away than this is no limit."""

_SHARE_NEEDED = 0.5

_LIMITS = np.array([np.nan if signal.limit is None else signal.limit for signal in SIGNALS])

PER_SIGNAL = (
    "level",  # mean of the last 5 minutes
    "delta",  # that, less the mean of the 5 minutes that ended 10 minutes ago
    "slope_15",  # by the minute, least squares
    "t_15",  # the slope over its standard error: how sure it is
    "slope_30",
    "t_30",
    "spread",  # variance of the last 5 minutes over that of 30
    "to_limit",  # minutes until the limit at the slope of 15 minutes, at most 120
    "missing",  # share of 30 minutes without a number
)
ACROSS = ("rising", "soonest", "latency_per_load")
FEATURES = tuple(f"{signal}.{feature}" for signal in NAMES for feature in PER_SIGNAL) + ACROSS


def features(signals: Matrix) -> Matrix:
    """Features of every minute that has a full history.

    Args:
        signals: minutes x signals, in the order of `SIGNALS`, NaN for gaps; at least `HISTORY` minutes.

    Returns:
        (minutes - HISTORY + 1) x len(FEATURES): the first row is about minute HISTORY - 1.
    """
    if signals.ndim != 2 or signals.shape[1] != len(SIGNALS) or signals.shape[0] < HISTORY:
        raise ValueError(f"needs at least {HISTORY} minutes of {len(SIGNALS)} signals, got {signals.shape}")
    blocks = _of_each_signal(sliding_window_view(signals, LONG, axis=0))
    return np.concatenate([blocks.reshape(len(blocks), -1), across(blocks)], axis=1)


def _of_each_signal(windows: Matrix) -> Matrix:
    """Rows x signals x minutes to rows x signals x features: one pass over all, as a live row cannot wait for each."""
    short, middle = windows[..., -SHORT:], windows[..., -MIDDLE:]
    level = _mean(short)
    before = _mean(windows[..., -MIDDLE : -MIDDLE + SHORT])
    slope_15, t_15 = _slope(middle)
    slope_30, t_30 = _slope(windows)
    missing = np.isnan(windows).mean(axis=-1)
    return np.stack(
        [level, level - before, slope_15, t_15, slope_30, t_30, _spread(short, windows),
         _to_limit(level, slope_15), missing],
        axis=-1,
    )  # fmt: skip


def _mean(windows: Matrix) -> Matrix:
    known = ~np.isnan(windows)
    count = known.sum(axis=-1)
    total = np.where(known, windows, 0.0).sum(axis=-1)
    return np.where(count >= _needed(windows), total / np.maximum(count, 1), np.nan)


def _variance(windows: Matrix) -> Matrix:
    known = ~np.isnan(windows)
    count = known.sum(axis=-1)
    centre = np.where(known, windows, 0.0).sum(axis=-1) / np.maximum(count, 1)
    squares = np.where(known, (windows - centre[..., None]) ** 2, 0.0).sum(axis=-1)
    return np.where(count >= _needed(windows), squares / np.maximum(count, 1), np.nan)


def _spread(short: Matrix, long: Matrix) -> Matrix:
    whole = _variance(long)
    # a signal that did not move at all has no ratio of variances; it is steady, which is what 1 says
    return np.where(whole > 1e-18, _variance(short) / np.maximum(whole, 1e-18), np.where(np.isnan(whole), np.nan, 1.0))


def _slope(windows: Matrix) -> tuple[Matrix, Matrix]:
    """Least squares over the minutes that are known: the slope, and its t statistic bounded to +-50."""
    known = ~np.isnan(windows)
    count = known.sum(axis=-1)
    minutes = np.arange(windows.shape[-1], dtype=float)
    safe = np.maximum(count, 1)
    mean_x = (known * minutes).sum(axis=-1) / safe
    mean_y = np.where(known, windows, 0.0).sum(axis=-1) / safe
    x = np.where(known, minutes - mean_x[..., None], 0.0)
    y = np.where(known, windows - mean_y[..., None], 0.0)
    xx, xy, yy = (x * x).sum(axis=-1), (x * y).sum(axis=-1), (y * y).sum(axis=-1)
    enough = (count >= max(4, _needed(windows))) & (xx > 0)
    slope = np.where(enough, xy / np.maximum(xx, 1e-12), np.nan)
    residual = np.maximum(yy - slope * xy, 0.0)
    error = np.sqrt(residual / np.maximum(count - 2, 1) / np.maximum(xx, 1e-12))
    certain = np.where(np.abs(slope) > 1e-15, np.sign(slope) * 50.0, 0.0)
    t = np.where(error > 1e-15, slope / np.maximum(error, 1e-15), certain)
    return slope, np.where(enough, np.clip(t, -50.0, 50.0), np.nan)


def _to_limit(level: Matrix, slope: Matrix) -> Matrix:
    left = _LIMITS - level
    rising = slope > 1e-12
    minutes = np.where(rising, left / np.where(rising, slope, 1.0), _MOST_MINUTES)
    minutes = np.where(left <= 0, 0.0, np.clip(minutes, 0.0, _MOST_MINUTES))
    return np.where(np.isnan(left) | np.isnan(slope), np.nan, minutes)


def across(blocks: Matrix) -> Matrix:
    """The features named `ACROSS`, from rows x signals x features.

    How many signals surely rise, the soonest limit of those, and whether latency rises faster than the load.
    """
    t = blocks[:, :, PER_SIGNAL.index("t_15")]
    to_limit = blocks[:, :, PER_SIGNAL.index("to_limit")]
    rising = np.where(np.isnan(t), False, t > 3.0)
    soonest = np.where(rising & ~np.isnan(to_limit), to_limit, _MOST_MINUTES).min(axis=1)
    level = PER_SIGNAL.index("level")
    latency = blocks[:, NAMES.index("latency_p95"), level]
    load = blocks[:, NAMES.index("request_rate"), level]
    ratio = np.where(load > 0, latency / np.where(load > 0, load, 1.0), np.nan)
    return np.stack([rising.sum(axis=1).astype(float), soonest, ratio], axis=1)


def _needed(windows: Matrix) -> int:
    return int(np.ceil(windows.shape[-1] * _SHARE_NEEDED))
