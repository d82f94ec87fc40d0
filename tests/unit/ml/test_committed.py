"""What is committed: the recorded data, the model that was trained on it, and the cards that describe both."""

from pathlib import Path

import pytest

from ml import artefact
from ml.artefact import Artefact
from ml.cards import data as data_card
from ml.cards import model as model_card
from ml.datasets.recording import Series, load
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


def test_the_model_was_trained_on_the_earlier_runs_and_judged_on_later_ones(
    model: Artefact, recorded: list[Series]
) -> None:
    ended = {series.run: series.began + len(series) for series in recorded}
    began = {series.run: series.began for series in recorded}
    told = model.manifest.dataset
    assert max(ended[run] for run in told["trained_on"]) < min(began[run] for run in told["judged_on"])
