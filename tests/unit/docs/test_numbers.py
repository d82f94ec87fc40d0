"""Numbers that the pages repeat are those of the configuration and of the code."""

from services.order.settings import OrderSettings
from shared.messaging.redelivery import RedeliveryPolicy
from shared.messaging.streams import Limits
from shared.resilience import Registry
from tests.unit.docs.pages import ROOT

DAY = 86_400


def default(field: str) -> float:
    return float(OrderSettings.model_fields[field].default)


def test_numbers_that_the_pages_repeat_are_those_of_the_configuration() -> None:
    limits, registry = Limits(), Registry.from_file(ROOT / "services" / "order" / "resilience.yaml")
    door = registry.config.instances["order.checkout"].bulkhead
    charge = registry.config.instances["payment.process"]
    said = {
        "docs/operations.md": (
            f"{door.max_concurrent_calls} checkouts at once, {door.max_waiting} in line for {door.max_wait_duration:g}",
            f"{charge.bulkhead.max_concurrent_calls} charges at once",
            f"{limits.payments.max_messages:,} queued payments or {limits.payments.max_bytes // 2**20} MiB",
            f"{limits.payments.max_age_seconds / DAY:g} days, {limits.dead_letters.max_age_seconds / DAY:g} days",
            f"after {default('patience_seconds') / 60:g} minutes an order that is not paid is cancelled",
            f"go on after their lease of {default('lease_seconds'):g} s",
        ),
        "docs/patterns.md": (
            f"{door.max_concurrent_calls} at once, {door.max_waiting} in line for {door.max_wait_duration:g} s",
            f"{charge.bulkhead.max_concurrent_calls} charges at once, {charge.bulkhead.max_waiting} in line",
            f"{charge.timeout.duration:g} s for a charge",
            f"An order has {default('order_seconds'):g} s in all",
            f"{RedeliveryPolicy().max_deliveries} deliveries with growing waits",
            f"{default('hold_seconds'):g} s; a hold that has run out is taken again",
        ),
        "docs/scaling.md": (f"a stream that takes {limits.payments.max_messages:,}",),
        "docs/limitations.md": (
            f"an attempt at a charge has {charge.timeout.duration:g} s and a whole charge {charge.deadline:g} s",
        ),
        "docs/architecture.md": (
            f"({door.max_concurrent_calls} at once, {door.max_waiting} in line)",
            f"deadline {default('order_seconds'):g} s",
            f"HELD for {default('hold_seconds'):g} s",
        ),
    }
    missing = [
        (page, sentence)
        for page, sentences in said.items()
        for sentence in sentences
        if sentence not in (ROOT / page).read_text(encoding="utf-8")
    ]
    assert missing == []
