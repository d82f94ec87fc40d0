"""What can be asked of a recording, and that each question can be answered with no."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from chaos.definition import Check
from chaos.recording import Order, Recording
from chaos.runner.checks import Finding, examine
from tests.unit.chaos.runs import FAULT, LIFT, breaker, counter, recording

WINDOW = (FAULT, LIFT)


def ask(made: Recording, **check: Any) -> Finding:
    return examine(TypeAdapter(Check).validate_python(check), made, WINDOW)


def test_orders_from_before_and_after_the_fault_do_not_count() -> None:
    assert ask(recording(202), answers=[202], at_least=1.0).holds
    assert not ask(recording(202), answers=[201], at_least=0.01).holds


def test_an_order_that_was_never_answered_counts_against_every_share() -> None:
    made = recording(202)
    made.orders["hangs"] = Order("hangs", 105.0)
    assert not ask(made, answers=[202], at_least=1.0).holds


def test_an_order_that_hangs_counts_in_the_latency_with_what_it_has_waited() -> None:
    made = Recording()
    made.orders["hangs"] = Order("hangs", 105.0)
    assert ask(made, latency=99, at_least=15.0).holds


def test_what_comes_before_the_breaker_opens_can_be_left_out() -> None:
    made = recording(202)
    for order in made.orders.values():
        if FAULT <= order.sent < FAULT + 4:
            order.seconds = 3.0
    assert not ask(made, latency=99, at_most=1.0).holds
    assert ask(made, latency=99, at_most=1.0, after_seconds=4).holds


def test_a_counter_that_starts_again_after_a_restart_goes_on_from_there() -> None:
    made = Recording()
    counter(made, "faults_struck_total", (99, 50), (110, 60), (112, 3), (119, 5), kind="http")
    assert ask(made, increase="faults_struck_total", labels={"kind": "http"}, at_least=15, at_most=15).holds
    assert not ask(made, increase="faults_struck_total", labels={"kind": "cpu"}, at_least=1).holds


def test_growth_before_the_fault_and_long_after_it_does_not_count() -> None:
    made = Recording()
    counter(made, "faults_struck_total", (90, 0), (99, 50), (110, 51), (140, 90))
    assert ask(made, increase="faults_struck_total", service="payment", at_most=1, at_least=1).holds


def test_a_breaker_that_was_open_before_the_fault_and_stayed_so_is_seen() -> None:
    made = Recording()
    breaker(made, (90, "closed"), (95, "open"), (130, "closed"))
    assert ask(made, breaker="payment", becomes="open").holds
    assert not ask(made, breaker="payment", never="open").holds


def test_a_breaker_that_opened_and_closed_before_the_fault_does_not_count() -> None:
    made = Recording()
    breaker(made, (80, "open"), (90, "closed"), (110, "closed"))
    assert not ask(made, breaker="payment", becomes="open").holds
    assert ask(made, breaker="pay*", never="open").holds


def test_a_breaker_that_nobody_saw_is_no_proof_that_it_never_opened() -> None:
    assert not ask(Recording(), breaker="payment", never="open").holds


def test_a_process_with_another_id_was_restarted() -> None:
    made = Recording()
    made.process(90, "inventory-1", "running", 10)
    made.process(103, "inventory-1", "running", 11)
    assert ask(made, process="inventory-*", becomes="restarted").holds
    assert not ask(made, process="inventory-*", becomes="paused").holds
    assert not ask(made, process="payment-*", becomes="restarted").holds


def test_a_process_that_runs_all_the_time_was_neither_paused_nor_restarted() -> None:
    made = Recording()
    made.process(90, "inventory-1", "running", 10)
    made.process(110, "inventory-1", "running", 10)
    assert not ask(made, process="inventory-1", becomes="restarted").holds
    assert not ask(made, process="inventory-1", becomes="paused").holds


def test_retries_show_as_amplification() -> None:
    made = Recording()
    counter(made, "resilience4j_retry_calls_total", (99, 100), (119, 200), instance="order-1", name="payment.process")
    counter(made, "resilience_retry_attempts_total", (99, 0), (119, 50), instance="order-1", name="payment.process")
    assert ask(made, amplification="payment.process", at_least=1.5, at_most=1.5).holds
    assert not ask(made, amplification="inventory.availability", at_most=9).holds


def test_an_alert_that_only_fired_before_is_not_raised_by_the_fault() -> None:
    made = Recording()
    made.alert(90, "TargetDown", "firing")
    made.alert(95, "TargetDown", "resolved")
    made.alert(110, "ServiceGone", "pending")
    assert not ask(made, alert="TargetDown").holds
    assert ask(made, alert="ServiceGone").holds


@pytest.mark.parametrize("check", [{"answers": [201]}, {"breaker": "payment"}, {"promql": "up", "at_leest": 1}])
def test_a_check_that_says_nothing_is_refused(check: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        TypeAdapter(Check).validate_python(check)


def test_a_latency_may_be_of_some_answers_only() -> None:
    made = recording(201)
    for number in range(50):
        made.orders[f"refused-{number}"] = Order(f"refused-{number}", FAULT + 1, FAULT + 6, 503, "", 5.0, 1)
    assert not ask(made, latency=99, at_most=1).holds
    assert ask(made, latency=99, of=[201, 202], at_most=1).value == 0.05
