"""What training leaves and the sidecar loads: `model.onnx` and `manifest.json`, which names, measures and signs it.

Nothing here can run code when it is read: ONNX is a graph of numbers, the manifest is JSON, and neither is looked at
before the signature over the manifest's bytes and the digest in it are right.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ml.features.windows import FEATURES, HISTORY
from ml.persistence import Persistence

INPUT = "features"
TRUE_CLASS = 1
FORMAT = 1

MODEL, MANIFEST, SIGNATURE = "model.onnx", "manifest.json", "manifest.sig"


class ArtefactRefused(Exception):
    """A model that must not be used; the text says which file and why."""


class Calibration(BaseModel):
    """Platt's: see `ml.calibration.Platt`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    slope: float
    intercept: float


class Drift(BaseModel):
    """How one feature was spread in training: edges of ten bins, the share in each, and the share that was missing."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    edges: list[float]
    shares: list[float]
    missing: float

    @model_validator(mode="after")
    def _a_share_for_each_bin(self) -> Self:
        if len(self.shares) != len(self.edges) + 1 or self.edges != sorted(self.edges):
            raise ValueError("the edges of the bins rise, and each bin has its share")
        return self


class Manifest(BaseModel):
    """Everything about a model but its numbers.

    threshold: from the false-alarm budget; `persistence`: k of n minutes
    metrics:   as the report has them
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: int = Field(ge=FORMAT, le=FORMAT)
    name: str = Field(max_length=100)
    created: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    features: list[str]
    history_minutes: int
    calibration: Calibration
    threshold: float = Field(gt=0)
    persistence: tuple[int, int]
    medians: list[float | None]
    drift: dict[str, Drift]
    dataset: dict[str, Any]
    metrics: dict[str, Any]

    @model_validator(mode="after")
    def _usable(self) -> Self:
        Persistence(*self.persistence)  # raises what it does not like
        if len(self.medians) != len(self.features):
            raise ValueError("each feature has its median, or none")
        return self


@dataclass(frozen=True, slots=True)
class Artefact:
    """A model that has been checked: the bytes of its graph, and its manifest."""

    onnx: bytes
    manifest: Manifest


def write(directory: Path, onnx: bytes, manifest: Mapping[str, Any], key: SigningKey) -> Manifest:
    """Write a signed artefact. `manifest` comes without its digest. Each file is replaced whole."""
    whole = Manifest.model_validate({**manifest, "sha256": hashlib.sha256(onnx).hexdigest()})
    text = orjson.dumps(whole.model_dump(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in (
        (MODEL, onnx),
        (MANIFEST, text),
        (SIGNATURE, key.sign(text).signature.hex().encode() + b"\n"),
    ):
        unfinished = directory / f".{name}.{os.getpid()}"
        unfinished.write_bytes(content)
        unfinished.replace(directory / name)
    return whole


def read(directory: Path, trusted: list[VerifyKey]) -> Artefact:
    """A checked artefact.

    Raises ArtefactRefused: a file is missing, was changed, is not signed by a trusted key, or is for other features.
    """
    try:
        text = (directory / MANIFEST).read_bytes()
        signature = bytes.fromhex((directory / SIGNATURE).read_text().strip())
        onnx = (directory / MODEL).read_bytes()
    except (OSError, ValueError) as error:
        raise ArtefactRefused(f"{directory}: {error}") from error
    if not any(_signed(key, text, signature) for key in trusted):
        raise ArtefactRefused(f"{directory / MANIFEST}: not signed by a key that is trusted here")
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise ArtefactRefused(f"{directory / MANIFEST}: {error}") from error
    if hashlib.sha256(onnx).hexdigest() != manifest.sha256:
        raise ArtefactRefused(f"{directory / MODEL}: its digest is not the one in the manifest")
    if manifest.features != list(FEATURES) or manifest.history_minutes != HISTORY:
        raise ArtefactRefused(f"{directory / MANIFEST}: a model for other features than this code makes; train again")
    return Artefact(onnx, manifest)


def trusted_keys(*places: Path) -> list[VerifyKey]:
    """The public keys in files or directories of `*.pub` (hexadecimal, 32 bytes); what is not there is left out."""
    found: list[VerifyKey] = []
    for place in places:
        for path in sorted(place.glob("*.pub")) if place.is_dir() else [place]:
            if not path.exists():
                continue
            try:
                found.append(VerifyKey(bytes.fromhex(path.read_text().strip())))
            except (ValueError, TypeError) as error:
                raise ArtefactRefused(f"{path}: not a public key: {error}") from error
    return found


def signing_key(path: Path) -> SigningKey:
    """The key in a file of mode 0600; made, with its public half beside it, when there is none."""
    if path.exists():
        return SigningKey(bytes.fromhex(path.read_text().strip()))
    key = SigningKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(bytes(key).hex() + "\n")
    path.with_suffix(".pub").write_text(bytes(key.verify_key).hex() + "\n")
    return key


def _signed(key: VerifyKey, text: bytes, signature: bytes) -> bool:
    try:
        key.verify(text, signature)
    except (BadSignatureError, ValueError):
        return False
    return True
