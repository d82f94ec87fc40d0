"""PASS, FAIL, ABORTED or INCONCLUSIVE: each for its reason, and the worst reason first."""

from dataclasses import replace

import pytest

from chaos.runner.verdict import Facts, Label, judge
from tests.unit.chaos.runs import CLEAN, END, definition, recording


def test_a_fault_that_bit_with_everything_as_expected_passes() -> None:
    assert judge(definition(), recording(202), CLEAN, END).label is Label.PASS


def test_a_fault_that_did_not_bite_proves_nothing() -> None:
    verdict = judge(definition(), recording(201), CLEAN, END)
    assert verdict.label is Label.INCONCLUSIVE
    assert "did not bite" in verdict.reason


def test_customers_who_were_not_served_fail_it_and_the_reason_has_the_figure() -> None:
    defined = definition(bites=[{"answers": [503], "at_least": 0.5}])
    verdict = judge(defined, recording(503), CLEAN, END)
    assert verdict.label is Label.FAIL
    assert "0.0% of 200" in verdict.reason


def test_lost_money_fails_it_even_when_it_was_aborted() -> None:
    facts = replace(CLEAN, audit=1, audit_says="...\nBROKEN: charged-once\n", interrupted="40% were served")
    verdict = judge(definition(), recording(202), facts, END)
    assert (verdict.label, verdict.reason) == (Label.FAIL, "an invariant is broken: charged-once")


def test_a_breach_aborts_before_anything_is_expected() -> None:
    verdict = judge(definition(), recording(503), replace(CLEAN, interrupted="40% were served"), END)
    assert (verdict.label, verdict.reason) == (Label.ABORTED, "40% were served")


def test_a_sick_platform_is_not_broken_further() -> None:
    verdict = judge(definition(), recording(fault=False), Facts(not_started="payment-1: no answer"), END)
    assert verdict.label is Label.INCONCLUSIVE
    assert verdict.reason == "not started: payment-1: no answer"


def test_a_fault_that_could_not_be_put_in_proves_nothing() -> None:
    made = recording(202)
    made.mark(100.1, "failed", "break it: HTTP 404")
    verdict = judge(definition(), made, CLEAN, END)
    assert verdict.label is Label.INCONCLUSIVE
    assert "HTTP 404" in verdict.reason


def test_a_platform_that_does_not_recover_in_time_fails() -> None:
    made = recording(202, recovered=False)
    made.mark(150.0, "unrecovered", "not recovered 30 s after the end of the fault: payment of order-1 is open")
    assert judge(definition(), made, CLEAN, END).label is Label.FAIL


@pytest.mark.parametrize(
    ("facts", "label"),
    [
        (replace(CLEAN, steady_after=False), Label.FAIL),
        (replace(CLEAN, left_over=("payment-1: http, 9 s left",)), Label.FAIL),
        (replace(CLEAN, audit=2, audit_says="audit: payment: locked"), Label.INCONCLUSIVE),
        (replace(CLEAN, audit=None), Label.INCONCLUSIVE),
    ],
)
def test_nothing_passes_without_steady_state_an_end_of_all_faults_and_the_auditor(facts: Facts, label: Label) -> None:
    assert judge(definition(), recording(202), facts, END).label is label


def test_every_label_has_an_exit_code_of_its_own() -> None:
    assert {label.exit_code for label in Label} == {0, 1, 3, 4}
