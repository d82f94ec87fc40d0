"""`python -m ml.remediation`: acts on predictions, as its policy lets it."""

import sys

from ml.lean import lean

lean()

from ml.remediation.command import main  # noqa: E402

sys.exit(main())
