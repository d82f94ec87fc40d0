"""The command line of the soak: `python -m tests.soak --minutes 60`, best by `make soak MINUTES=60`.

Exit code 0: nothing grew; 1: something did, or the auditor complains, named in the last lines; 130: interrupted.
"""

import argparse
import sys
import time
from pathlib import Path

from infra.local.errors import StackError
from infra.local.settings import ROOT
from tests.bench.sides import workplace
from tests.soak import report
from tests.soak.judge import judge, read_bounds
from tests.soak.run import Soak, Wanted, interruptible, soak

_REPORTS = ROOT / ".local" / "soak"
_SHORTEST_MINUTES, _LONGEST_MINUTES = 3.0, 24 * 60.0


def main(arguments: list[str] | None = None) -> int:
    """Run one soak; returns its exit code."""
    chosen = _parse(arguments)
    found = Soak(Wanted(chosen.minutes, chosen.seed, chosen.rate))
    directory = chosen.out or _REPORTS / f"{time.strftime('%Y%m%d-%H%M%S')}-seed{chosen.seed}"
    with interruptible(_say) as was_interrupted, workplace() as work:
        try:
            soak(found.wanted, work, found, _say)
        except StackError as error:
            _say(str(error))
            return 1
    if was_interrupted():
        return 130
    bounds = read_bounds()
    findings = judge(found.series, found.window, bounds)
    why = report.complaints(found, findings)
    report.write(found, findings, why, list(bounds.values()), directory)
    sys.stdout.write(report.markdown(found, report.worst(findings), why))
    _say(f"report: {_shown(directory)}/report.html")
    for complaint in why:
        _say(f"FAIL: {complaint}")
    return 1 if why else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Does anything grow under a steady load?")
    parser.add_argument("--minutes", type=_minutes, default=60.0, help="of load (default 60)")
    parser.add_argument("--rate", type=float, default=None, help="orders a second; default 70 %% of what is measured")
    parser.add_argument("--seed", type=int, default=1, help="of orders and faults (default 1)")
    parser.add_argument("--out", type=Path, metavar="DIRECTORY", help="for the report; default .local/soak/<time>")
    return parser.parse_args(arguments)


def _minutes(text: str) -> float:
    value = float(text)
    if not _SHORTEST_MINUTES <= value <= _LONGEST_MINUTES:
        raise argparse.ArgumentTypeError(f"{_SHORTEST_MINUTES:g} to {_LONGEST_MINUTES:g}")
    return value


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
