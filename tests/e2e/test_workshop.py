"""Every lab on a running platform: its check fails before the lab, fails while only the harm was seen, and passes after
its solution. The game day and the prediction take minutes: their checks are tested on what such a day has recorded
(tests/unit/workshop, tests/integration/ml)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.distribution import PROMETHEUS, ToolMissing, fetch
from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from workshop.__main__ import DONE, NOT_YET, main
from workshop.labs import LABS
from workshop.platform import Platform

pytestmark = pytest.mark.slow

_TAKE_MINUTES = {11, 12}
_SHORT = [LABS[number] for number in sorted(LABS.keys() - _TAKE_MINUTES)]
