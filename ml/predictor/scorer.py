"""The model at work: one row of features, its probability, and what each signal adds to it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime

from ml.artefact import INPUT, TRUE_CLASS, Artefact, ArtefactRefused
from ml.calibration import Platt
from ml.features.prometheus import Matrix
from ml.features.signals import NAMES, SIGNALS
from ml.features.windows import ACROSS, PER_SIGNAL, across

_WIDTH = len(PER_SIGNAL)


@dataclass(frozen=True, slots=True)
class Scored:
    """A calibrated probability, and by how much each signal moves its log-odds from where a usual value would be."""

    probability: float
    weights: Matrix


class Scorer:
    """Runs a checked model on one thread. A prediction is one batch: the row, and once more for each signal."""

    def __init__(self, artefact: Artefact) -> None:
        """Raises ArtefactRefused: the graph cannot be run, or does not answer as it should."""
        manifest = artefact.manifest
        self._platt = Platt(manifest.calibration.slope, manifest.calibration.intercept)
        usual = np.array([np.nan if each is None else each for each in manifest.medians], dtype=np.float64)
        self._usual = as_block(usual)
        try:
            self._session = onnxruntime.InferenceSession(artefact.onnx, _one_thread(), ["CPUExecutionProvider"])
            sane = np.isfinite(self.score(usual).probability)
        except Exception as error:  # onnxruntime's errors have no common parent but this
            raise ArtefactRefused(f"the model cannot be run: {str(error)[:200]}") from error
        if not sane:
            raise ArtefactRefused("the model answers a usual row with no number")

    def score(self, row: Matrix) -> Scored:
        """The probability for one row of features, and each signal's weight.

        A signal's weight is the log-odds less those of the same row with that signal at its medians in training, the
        features across signals made anew (ablation by group).
        """
        blocks = np.repeat(as_block(row)[None], len(SIGNALS) + 1, axis=0)
        each = np.arange(len(SIGNALS))
        blocks[each + 1, each] = self._usual
        table = np.concatenate([blocks.reshape(len(blocks), -1), across(blocks)], axis=1)
        log_odds = self._platt.log_odds(self._raw(table))
        return Scored(float(1.0 / (1.0 + np.exp(-log_odds[0]))), log_odds[0] - log_odds[1:])

    def _raw(self, table: Matrix) -> Matrix:
        outputs: Sequence[npt.NDArray[np.float32]] = self._session.run(None, {INPUT: table.astype(np.float32)})
        return outputs[1][:, TRUE_CLASS].astype(np.float64)


def as_block(row: Matrix) -> Matrix:
    """One row without the features across signals, as signals x features."""
    return row[: -len(ACROSS)].reshape(len(NAMES), _WIDTH)


def _one_thread() -> onnxruntime.SessionOptions:
    # a row is too little to be shared out, and idle threads of the pool would spin
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    return options
