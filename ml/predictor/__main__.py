"""`python -m ml.predictor`: the sidecar."""

from ml.lean import lean

lean()

from ml.predictor.command import main  # noqa: E402

main()
