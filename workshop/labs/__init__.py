"""The twelve labs."""

from workshop.lab import Lab
from workshop.labs import breaker, bulkhead, fallback, first_order, retries, timeouts

LABS: dict[int, Lab] = {
    each.number: each for each in (first_order.LAB, timeouts.LAB, retries.LAB, breaker.LAB, bulkhead.LAB, fallback.LAB)
}
