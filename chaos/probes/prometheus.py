"""PromQL as a probe."""

import time
from collections.abc import Mapping
from typing import Any

import httpx

from chaos.metrics import Prometheus

_EVERY_SECONDS = 0.5


def value(
    query: str,
    configuration: Mapping[str, Any],
    otherwise: float | None = None,
    settles_to: tuple[float, float] | None = None,
    within_seconds: float = 0.0,
) -> float:
    """The largest value of an instant query.

    Args:
        query: PromQL.
        configuration: of the experiment; `prometheus` is the base URL.
        otherwise: what no result at all counts as; without it that is an error.
        settles_to: lowest and highest value to wait for. A scrape lags by its interval.
        within_seconds: how long to wait for them.

    Raises:
        ValueError: no Prometheus, a bad query, or no result.
    """
    url = str(configuration.get("prometheus") or "")
    if not url:
        raise ValueError("There is no Prometheus: this experiment needs one (PROMETHEUS=on).")
    until = time.monotonic() + within_seconds
    with httpx.Client(trust_env=False) as client:
        while True:
            values = Prometheus(url, client).query(query)
            if not values and otherwise is None:
                raise ValueError(f"{query}: no result")
            found = max(values, default=otherwise or 0.0)
            if settles_to is None or settles_to[0] <= found <= settles_to[1] or time.monotonic() > until:
                return found
            time.sleep(_EVERY_SECONDS)
