"""The trained trees as ONNX, checked against the trees they came from; and what such a graph says."""

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType

from ml.artefact import INPUT, TRUE_CLASS, Artefact
from ml.calibration import Platt
from ml.features.prometheus import Matrix
from ml.training.forest import Model

_OPSET = 17
_CLOSE = 1e-5


def as_onnx(model: Model, sample: Matrix) -> bytes:
    """The trees (raw probabilities, not calibrated) as ONNX.

    Raises ValueError: on `sample` (rows of features) the two do not agree.
    """
    width = sample.shape[1]
    graph = to_onnx(
        model.trees,
        initial_types=[(INPUT, FloatTensorType([None, width]))],
        options={id(model.trees): {"zipmap": False}},
        target_opset=_OPSET,
    )
    written: bytes = graph.SerializeToString()
    table = sample.astype(np.float32)
    session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    theirs = session.run(None, {INPUT: table})[1][:, TRUE_CLASS]
    furthest = float(np.abs(theirs - model.trees.predict_proba(table)[:, TRUE_CLASS]).max())
    if furthest > _CLOSE:
        raise ValueError(f"the ONNX model is {furthest:.2g} away from the one it was made of")
    return written


def scores(model: Artefact, table: Matrix) -> Matrix:
    """The calibrated probabilities of a signed model for rows of features."""
    session = onnxruntime.InferenceSession(model.onnx, providers=["CPUExecutionProvider"])
    raw = session.run(None, {INPUT: table.astype(np.float32)})[1][:, TRUE_CLASS].astype(np.float64)
    calibration = model.manifest.calibration
    return Platt(calibration.slope, calibration.intercept).apply(raw)
