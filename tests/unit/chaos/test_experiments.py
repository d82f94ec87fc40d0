"""Every experiment file: valid for Chaos Toolkit, complete for Holdfast, and safe by its own rules."""

import pytest
from chaoslib.experiment import ensure_experiment_is_valid

from chaos import definition
from chaos.definition import BadExperiment

NAMES = definition.names()


@pytest.mark.parametrize("name", NAMES)
def test_chaos_toolkit_accepts_it_with_every_function_and_argument(name: str) -> None:
    ensure_experiment_is_valid(definition.load(name))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_complete_and_named_as_its_file(name: str) -> None:
    experiment = definition.load(name)
    defined = definition.of(experiment)
    assert defined.scenario == name
    assert experiment["controls"][0]["provider"]["module"] == "chaos.control"
    assert experiment["configuration"]["fault_seconds"]["default"] == defined.fault_seconds


@pytest.mark.parametrize("name", NAMES)
def test_its_fault_is_lifted_by_the_method_and_again_by_the_rollbacks(name: str) -> None:
    experiment = definition.load(name)
    lifts = [each["provider"]["func"] == "lift" for each in experiment["method"]]
    recovers = [each["provider"]["func"] == "recovers" for each in experiment["method"]]
    assert lifts.index(True) < recovers.index(True)
    assert experiment["rollbacks"][-1]["provider"]["func"] == "lift"


def test_the_lesson_of_each_is_two_sentences() -> None:
    for name in NAMES:
        lesson = str(definition.load(name)["description"])
        assert lesson.strip().count(". ") == 1, f"{name}: {lesson}"


def test_an_experiment_that_cannot_be_judged_is_refused_by_its_field() -> None:
    experiment = definition.load("payment-down")
    experiment["extensions"][0].pop("bites")
    with pytest.raises(BadExperiment, match="how one knows"):
        definition.of(experiment)
    with pytest.raises(BadExperiment, match="No scenario is called"):
        definition.load("payment-upside-down")
