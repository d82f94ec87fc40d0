"""Prediction and remediation. Until a predictor runs, this page says that nothing is known; it never guesses."""

from infra.grafana.expressions import LATENCY_STEPS, errors, quantile
from infra.grafana.pages import Page, Section
from infra.grafana.panels import (
    GREEN,
    GREY,
    ORANGE,
    RED,
    UNKNOWN,
    YELLOW,
    About,
    Query,
    bars,
    lines,
    number,
    states,
    unknown,
    zero,
)
from infra.grafana.sources import RANGE

_OUTCOMES = "prediction_outcomes_total"
_LIKELY = ((0.5, YELLOW), (0.7, RED))


def _hits(outcomes: str) -> str:
    return f'sum(increase({_OUTCOMES}{{outcome=~"{outcomes}"}}[{RANGE}]))'


def _share(of: str) -> str:
    """True positives as a share of the `of`; unknown as long as there are none of them."""
    return unknown(f"{_hits('true_positive')} / ({_hits(f'true_positive|{of}')} > 0)")


_PREDICTION = Section(
    "Prediction",
    (
        number(
            About("Predictor", "Whether a predictor tells Prometheus what it expects.", "none"),
            Query(zero("clamp_max(count(failure_probability), 1)"), "predictor"),
            words={0: ("not running", GREY), 1: ("running", GREEN)},
        ),
        number(
            About(
                "Precision", "Of the failures that were foretold in the time shown, the share that came.", "percentunit"
            ),
            Query(_share("false_positive"), "precision"),
            words=UNKNOWN,
        ),
        number(
            About(
                "Recall",
                "Of the failures that came in the time shown, the share that had been foretold.",
                "percentunit",
            ),
            Query(_share("false_negative"), "recall"),
            words=UNKNOWN,
        ),
        number(
            About("Predictions judged", "Predictions in the time shown of which it is known how they ended.", "short"),
            Query(zero(f"sum(increase({_OUTCOMES}[{RANGE}]))"), "judged"),
        ),
        number(
            About("Latency of a prediction, p99", "From the question to the answer.", "s"),
            Query(unknown(quantile(0.99, by="", metric="prediction_latency_seconds")), "p99"),
            steps=LATENCY_STEPS,
            words=UNKNOWN,
        ),
        number(
            About("Drift", "The feature that has moved farthest from what the model was trained on.", "none"),
            Query(unknown("max(prediction_drift)"), "largest"),
            steps=((0.1, YELLOW), (0.25, RED)),
            words=UNKNOWN,
        ),
        states(
            About(
                "Failure probability",
                "How likely each service is to fail soon, as the predictor sees it. Grey: nobody can tell.",
                "percentunit",
                alerts=("FailurePredicted", "PredictorSilent"),
            ),
            Query(
                'max by (service) (failure_probability) or -1 * group by (service) (up{job="services"})', "{{service}}"
            ),
            steps=_LIKELY,
            words=UNKNOWN,
        ),
        lines(
            About("What then happened", "Share of the requests that ended in a server error.", "percentunit"),
            Query(errors(), "{{service}}"),
            width=12,
        ),
        lines(
            About("Outcomes", "Predictions in the last five minutes, by whether they came true.", "short"),
            Query(
                zero(f"sum by (service, outcome) (increase({_OUTCOMES}[5m]))", service="no predictor", outcome="none"),
                "{{service}}: {{outcome}}",
            ),
            width=12,
        ),
        bars(
            About("Drift by feature", "Distance of each feature from the training data; -1 is unknown.", "none"),
            Query(unknown("max by (feature) (prediction_drift)", feature="no predictor"), "{{feature}}"),
            width=12,
            steps=((0.1, YELLOW), (0.25, RED)),
        ),
    ),
)

_REMEDIATION = Section(
    "Remediation",
    (
        lines(
            About(
                "Actions",
                "What was done, asked, or with mode shadow would have been done, in the last five minutes.",
                "short",
            ),
            Query(
                zero(
                    "sum by (service, action, mode, outcome) (increase(remediation_actions_total[5m]))",
                    service="none",
                    action="none",
                ),
                "{{service}}: {{action}} {{mode}} {{outcome}}",
            ),
            width=12,
        ),
        bars(
            About("Actions in the time shown", "By action, mode and outcome.", "short"),
            Query(
                zero(f"sum by (action, mode, outcome) (increase(remediation_actions_total[{RANGE}]))", action="none"),
                "{{action}} {{mode}} {{outcome}}",
            ),
            width=12,
            steps=((1, ORANGE),),
        ),
    ),
)

PAGE = Page(
    uid="prediction",
    title="Prediction and remediation",
    description="What the predictor expects, whether it is right, and what is done about it.",
    sections=(_PREDICTION, _REMEDIATION),
)
