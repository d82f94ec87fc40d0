"""Which traces a service records, as the variables of OpenTelemetry say."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from shared.telemetry.tracing import chosen_sampler

NUMBER = 2_000


def share_recorded(variables: dict[str, str], *, caller: int | None = None) -> float:
    """The share of new spans that are recorded; `caller`: the flags of a remote parent, if there is one."""
    tracer = TracerProvider(sampler=chosen_sampler(variables), shutdown_on_exit=False).get_tracer("test")
    parent = None
    if caller is not None:
        remote = SpanContext(2**127 + 1, 1, is_remote=True, trace_flags=TraceFlags(caller))
        parent = set_span_in_context(NonRecordingSpan(remote))
    return sum(tracer.start_span("x", parent).is_recording() for _ in range(NUMBER)) / NUMBER


@pytest.mark.parametrize("variables", [{}, {"OTEL_TRACES_SAMPLER": ""}, {"OTEL_TRACES_SAMPLER_ARG": "0.1"}])
def test_by_default_all_is_recorded_unless_the_caller_has_decided_against_it(variables: dict[str, str]) -> None:
    assert share_recorded(variables) == 1
    assert share_recorded(variables, caller=1) == 1
    assert share_recorded(variables, caller=0) == 0


def test_a_share_is_taken_of_traces_that_begin_here_and_the_callers_decision_is_kept() -> None:
    tenth = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
    assert 0.05 < share_recorded(tenth) < 0.15  # seven standard deviations
    assert share_recorded(tenth, caller=1) == 1
    assert share_recorded(tenth, caller=0) == 0
    assert share_recorded({"OTEL_TRACES_SAMPLER": "ParentBased_TraceIdRatio"}) == 1


def test_samplers_that_are_not_parent_based_ask_nobody() -> None:
    assert share_recorded({"OTEL_TRACES_SAMPLER": "always_on"}, caller=0) == 1
    assert share_recorded({"OTEL_TRACES_SAMPLER": "always_off"}, caller=1) == 0
    assert share_recorded({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}) == 0
    assert share_recorded({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, caller=1) == 1


@pytest.mark.parametrize("argument", ["ten", "1.1", "-0.1", "nan", "10%"])
def test_a_share_that_is_none_is_refused(argument: str) -> None:
    with pytest.raises(ValueError, match="OTEL_TRACES_SAMPLER_ARG: must be a share"):
        chosen_sampler({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": argument})


def test_an_unknown_sampler_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"must be one of always_on, .* parentbased_traceidratio"):
        chosen_sampler({"OTEL_TRACES_SAMPLER": "sometimes"})
