"""A model is used only as it was signed."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from nacl.signing import SigningKey

from ml import artefact
from ml.artefact import ArtefactRefused
from ml.features.windows import FEATURES, HISTORY

KEY = SigningKey.generate()


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "format": 1, "name": "trees", "created": "2026-01-01T00:00:00+00:00", "features": list(FEATURES),
        "history_minutes": HISTORY, "calibration": {"slope": 1.0, "intercept": 0.0}, "threshold": 0.4,
        "persistence": (3, 5), "medians": [None] * len(FEATURES), "drift": {}, "dataset": {}, "metrics": {},
    } | changes  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Path:
    artefact.write(tmp_path, b"graph", manifest(), KEY)
    return tmp_path


def test_what_was_written_is_read(written: Path) -> None:
    found = artefact.read(written, [SigningKey.generate().verify_key, KEY.verify_key])
    assert found.onnx == b"graph"
    assert found.manifest.threshold == 0.4


@pytest.mark.parametrize("name", [artefact.MODEL, artefact.MANIFEST, artefact.SIGNATURE])
def test_a_file_with_one_byte_changed_is_refused(written: Path, name: str) -> None:
    content = bytearray((written / name).read_bytes())
    content[3] ^= 1
    (written / name).write_bytes(bytes(content))
    with pytest.raises(ArtefactRefused, match=str(written)):
        artefact.read(written, [KEY.verify_key])


@pytest.mark.parametrize("name", [artefact.MODEL, artefact.MANIFEST, artefact.SIGNATURE])
def test_a_missing_file_is_named(written: Path, name: str) -> None:
    (written / name).unlink()
    with pytest.raises(ArtefactRefused, match=name):
        artefact.read(written, [KEY.verify_key])


def test_a_stranger_s_signature_is_refused(written: Path) -> None:
    with pytest.raises(ArtefactRefused, match="not signed by a key that is trusted"):
        artefact.read(written, [SigningKey.generate().verify_key])
    with pytest.raises(ArtefactRefused, match="not signed"):
        artefact.read(written, [])


def test_a_model_for_other_features_is_refused(tmp_path: Path) -> None:
    artefact.write(tmp_path, b"graph", manifest(features=["cpu.level"], medians=[None]), KEY)
    with pytest.raises(ArtefactRefused, match="train again"):
        artefact.read(tmp_path, [KEY.verify_key])


def test_a_signed_manifest_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    artefact.write(tmp_path, b"graph", manifest(), KEY)
    text = orjson.dumps(manifest(sha256="0" * 64, threshold=-1))
    (tmp_path / artefact.MANIFEST).write_bytes(text)
    (tmp_path / artefact.SIGNATURE).write_text(KEY.sign(text).signature.hex())
    with pytest.raises(ArtefactRefused, match="threshold"):
        artefact.read(tmp_path, [KEY.verify_key])


@pytest.mark.parametrize(
    "change",
    [
        {"persistence": (5, 3)},
        {"medians": [0.5]},
        {"drift": {"cpu.level": {"edges": [0.1, 0.2], "shares": [0.5, 0.5], "missing": 0.0}}},
        {"drift": {"cpu.level": {"edges": [0.2, 0.1], "shares": [0.5, 0.3, 0.2], "missing": 0.0}}},
    ],
)
def test_a_manifest_that_could_not_be_worked_with_is_not_written(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="1 validation error"):
        artefact.write(tmp_path, b"graph", manifest(**change), KEY)


def test_the_signing_key_is_made_once_and_is_its_owner_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.key"
    first, again = artefact.signing_key(path), artefact.signing_key(path)
    assert bytes(first) == bytes(again)
    assert path.stat().st_mode & 0o777 == 0o600
    assert artefact.trusted_keys(path.parent) == [first.verify_key]


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.pub").write_text("not a key")
    with pytest.raises(ArtefactRefused, match=r"broken\.pub"):
        artefact.trusted_keys(tmp_path)
