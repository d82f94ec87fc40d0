"""What the tutorial's recipe makes of the tutorial's forest, and what is left of that in the order of time."""

from collections.abc import Sequence

from sklearn.model_selection import train_test_split

from ml.datasets.recording import Series
from ml.datasets.rows import walk_forward
from ml.evaluation import baselines
from ml.evaluation.forward import LATER_SHARE, tutorials_forest, tutorials_rows
from ml.evaluation.scores import pr_auc


def illusion(listed: Sequence[Series], minute_seconds: float, seed: int) -> dict[str, float]:
    """PR-AUC of the tutorial's forest on the tutorial's label: split at random, and split in the order of time."""
    inputs, label = tutorials_rows(listed)
    learn, test, learn_label, test_label = train_test_split(
        inputs, label, test_size=0.2, random_state=42, stratify=label
    )
    at_random = baselines.TutorialForest(seed).fit(learn, learn_label).score(test)
    (halves,) = walk_forward(listed, LATER_SHARE, 1, minute_seconds)
    later_inputs, later_label = tutorials_rows(halves.block)
    in_order = tutorials_forest(halves.earlier, seed).score(later_inputs)
    return {
        "random split": pr_auc(test_label, at_random),
        "in the order of time": pr_auc(later_label, in_order),
        "base rate": float(later_label.mean()),
    }
