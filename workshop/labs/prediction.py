"""Lab 12: a leak, the warning before the breach, and an action that a person has approved."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from workshop.lab import Lab, Note
from workshop.platform import Platform, Trouble, instant

_PREDICTOR = "http://127.0.0.1:8095"


def _begin(at: Platform) -> None:
    at.directory.mkdir(parents=True, exist_ok=True)


def _check(at: Platform, note: Note, _answer: str) -> str:
    try:
        predictions = at.get(_PREDICTOR, "/predictions")["predictions"]
    except Trouble as error:
        raise LAB.not_yet(f"No predictor answers: {error}", "predict") from None
    file = at.stack.state.path / "remediation" / "audit.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return judged(predictions, [json.loads(line) for line in lines if line.strip()], note.began)


def judged(predictions: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]], began: float) -> str:
    """What the predictor and the record of the remediation come to. Raises `NotYet`."""
    known = [each for each in predictions if each["state"] != "unknown" and each["at"] and instant(each["at"]) >= began]
    if not known:
        why = next((each["why"] for each in predictions if each["why"]), "nothing was predicted since the lab began")
        raise LAB.not_yet(f"The predictor knows nothing yet: {why}", "predict")
    # Each line holds its record as far as it has come.
    records = {line["id"]: line for line in lines if instant(line["began"]) >= began}.values()
    if not records:
        raise LAB.not_yet(
            "No alarm was recorded since the lab began: a leak takes a while to become a warning.", "leak"
        )
    if not any(each["mode"] == "shadow" for each in records):
        raise LAB.not_yet("Nothing was decided in shadow: look first at what it would do.", "shadow")
    done = [each for each in records if each["approved_by"] and each["outcome"] == "done"]
    if not done:
        asked = sum(1 for each in records if each["stage"] == "asked")
        raise LAB.not_yet(
            f"{len(records)} records, {asked} of them a question, and no action that a person approved.", "approve"
        )
    action = done[0]["action"]
    return f"{done[0]['approved_by']} approved: {action['kind']} of {action['service']}, {done[0]['cause']}."


def _see(_at: Platform, _note: Note) -> None:
    raise Trouble("This lab takes a person: two programs run beside the platform. docs/workshop/12-prediction.md")


def _mend(_at: Platform, _note: Note) -> str:
    return ""


LAB = Lab(
    number=12,
    title="Prediction and remediation",
    page="12-prediction.md",
    minutes=40,
    scene="Nothing is broken yet. Begin a leak, and act before customers notice.",
    hints=(
        "curl localhost:8095/predictions: unknown has a reason, and the first minutes are always unknown.",
        "A warning takes k of n minutes over the threshold. .venv/bin/python -m ml.remediation audit shows decisions.",
        'GET localhost:8096/approvals with the operator\'s token, then POST {"decision": "approve", "by": "you"}.',
    ),
    begin=_begin,
    check=_check,
    see=_see,
    mend=_mend,
)
