"""`python -m infra.local.experiment run payment-down`: as `python -m chaos`, with what that needs installed first.

`make up` installs what the stack needs; who starts an experiment from the page has not said `make chaos` before.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

from infra.local.settings import ROOT

_BOOTSTRAP = ROOT / "infra" / "local" / "bootstrap.sh"
_INSTALL_SECONDS = 300.0


def main(words: list[str]) -> None:
    """Become the experiments' command; exits with 1 when what that needs cannot be installed."""
    if find_spec("chaoslib") is None:
        try:
            subprocess.run([_BOOTSTRAP, "chaos"], check=True, timeout=_INSTALL_SECONDS, stdin=subprocess.DEVNULL)  # noqa: S603 - ours
        except (OSError, subprocess.SubprocessError) as error:
            sys.stderr.write(f"what experiments need could not be installed: {error}; try: make chaos\n")
            raise SystemExit(1) from None
    os.execv(sys.executable, [sys.executable, "-m", "chaos", *words])  # noqa: S606 - our own module, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
