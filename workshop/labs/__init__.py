"""The twelve labs."""

from workshop.lab import Lab
from workshop.labs import (
    breaker,
    bulkhead,
    canary,
    deadlines,
    error_budget,
    fallback,
    first_order,
    game_day,
    mesh,
    prediction,
    retries,
    timeouts,
)

_MODULES = (
    *(first_order, timeouts, retries, breaker, bulkhead, fallback),
    *(deadlines, mesh, canary, error_budget, game_day, prediction),
)
LABS: dict[int, Lab] = {module.LAB.number: module.LAB for module in _MODULES}
