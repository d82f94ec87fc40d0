"""Whole experiments on the rehearsal's containers: each as `make chaos` runs it on a stack of containers."""

import subprocess
import sys
from collections.abc import Mapping

from infra.compose.rehearsal.checks import Failed
from infra.compose.stack import ComposeStack
from infra.local.settings import ROOT

_SECONDS = 400.0


def run(stack: ComposeStack, name: str, images: Mapping[str, str]) -> str:
    """Run one experiment to its verdict, which it returns. Raises `Failed` unless it is PASS.

    Args:
        images: the variables of docker-compose.yml that the stack was started with beside its settings.
    """
    chosen = {"HOLDFAST_STATE_DIR": str(stack.settings.state), "HOLDFAST_PREDICTION": "off", "CHAOS_TARGET": "compose"}
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", "chaos", "run", name],
            env={**stack.engine.environ, **images, **chosen},
            cwd=ROOT, capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Failed(f"no verdict within {_SECONDS:.0f} s") from error
    said = (done.stdout.strip() or done.stderr.strip() or f"exit code {done.returncode}").splitlines()
    if done.returncode:
        raise Failed(said[0])
    return said[0]
