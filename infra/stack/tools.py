"""The operator's tools, where the stack that runs can be reached: from this machine, or from beside the containers."""

import os
import subprocess
import sys

from infra.compose import __main__ as compose
from infra.local.operator import operator_environment
from infra.stack.choice import Name

MODULES = {"audit": "infra.audit", "dead-letters": "shared.messaging.dead_letters"}
"""Of each tool by its name in make."""


def run(stack: Name, name: str, words: list[str]) -> int:
    """Run one tool and return its exit code."""
    module = MODULES[name]
    if stack == "compose":
        return compose.main(["tool", module, *words])
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, env=os.environ | operator_environment(), check=False).returncode  # noqa: S603 - ours
