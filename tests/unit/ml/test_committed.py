"""What is committed: the recorded data, the model that was trained on it, and the cards that describe both."""

from pathlib import Path

import pytest

from ml import artefact
from ml.artefact import Artefact
from ml.cards import data as data_card
from ml.cards import model as model_card
from ml.datasets.recording import Series, load
from ml.datasets.rows import embargo
from ml.features.windows import HISTORY
from ml.remediation.policy import load as policy_of
from ml.training.__main__ import MODELS, RECORDED

KEYS = Path("ml/keys")


@pytest.fixture(scope="module")
def recorded() -> list[Series]:
    return load(RECORDED)


@pytest.fixture(scope="module")
def model() -> Artefact:
    return artefact.read(MODELS, artefact.trusted_keys(KEYS))


def test_the_data_is_small_enough_for_git_and_its_card_was_written_from_it(recorded: list[Series]) -> None:
    assert sum(path.stat().st_size for path in RECORDED.iterdir()) < 15e6
    assert (RECORDED / data_card.CARD).read_text(encoding="utf-8") == data_card.card(RECORDED, recorded)


def test_the_model_is_signed_by_the_key_beside_it_and_its_card_was_written_from_its_manifest(model: Artefact) -> None:
    assert (MODELS / model_card.CARD).read_text(encoding="utf-8") == model_card.card(model.manifest)


def test_each_model_that_was_judged_had_seen_nothing_of_the_hour_before_its_block(
    model: Artefact, recorded: list[Series]
) -> None:
    minute = model.manifest.dataset["minute_seconds"]
    judged: list[str] = []
    for told in model.manifest.metrics["origins"]:
        judged += told["judged_on"]
        began = min(series.began for series in recorded if series.run in told["judged_on"])
        assert told["at"] == pytest.approx(began)
        over = [int((told["at"] - embargo(minute) - series.began) / minute) for series in recorded]
        known = [min(len(series), minutes) for series, minutes in zip(recorded, over, strict=True)]
        assert told["minutes"] == sum(minutes for minutes in known if minutes >= HISTORY)
    assert sorted(judged) == sorted(set(judged)) == sorted(model.manifest.dataset["judged_on"])


def test_the_model_that_is_shipped_knows_every_run_and_what_acts_on_it_counts_as_it_does(
    model: Artefact, recorded: list[Series]
) -> None:
    assert set(model.manifest.dataset["trained_on"]) == {series.run for series in recorded}
    for path in (Path("ml/remediation/policy.yaml"), Path("ml/trial/policy.yaml")):
        policy = policy_of(path)
        assert (policy.persistence.k, policy.persistence.n) == model.manifest.persistence
        assert policy.lowest_threshold <= model.manifest.threshold
