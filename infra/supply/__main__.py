"""`python -m infra.supply sbom|licences|vulnerabilities|secrets|relock`: what the platform is made of."""

import argparse
import os
import sys
from pathlib import Path

from infra.supply import licences, relock, sbom, secrets, vulnerabilities
from infra.supply.locks import ROOT, LockError, names


def main(words: list[str] | None = None) -> int:
    """The exit code: 0 well, 1 something was found, 69 (EX_UNAVAILABLE) nobody could be asked."""
    asked = _parser().parse_args(words)
    try:
        return int(asked.run(asked))
    except LockError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.supply", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    bill = commands.add_parser("sbom", help="a CycloneDX document of what locks install")
    bill.add_argument("locks", nargs="*", metavar="lock", help=f"of {', '.join(names())}")
    bill.add_argument("--to", type=Path, default=ROOT / ".local" / "sbom", help="the directory (default: .local/sbom)")
    bill.set_defaults(run=_sbom)
    commands.add_parser("licences", help="write docs/licences.md").set_defaults(run=_licences)
    known = commands.add_parser("vulnerabilities", help="what is known against locked distributions")
    known.set_defaults(run=_vulnerabilities)
    hidden = commands.add_parser("secrets", help="look for secrets in the files of the tree")
    hidden.set_defaults(run=_secrets)
    anew = commands.add_parser("relock", help="compile the locks from pyproject.toml")
    anew.add_argument("--upgrade", action="store_true", help="with the newest versions that fit")
    anew.set_defaults(run=_relock)
    return parser


def _sbom(asked: argparse.Namespace) -> int:
    for lock in asked.locks or sbom.SHIPPED:
        path = sbom.write(lock, asked.to)
        _say(os.path.relpath(path))
    return 0


def _licences(_asked: argparse.Namespace) -> int:
    refused = licences.write()
    for why in refused:
        _say(why)
    _say(f"{os.path.relpath(licences.PAGE)}: {len(licences.table())} distributions")
    return 1 if refused else 0


def _vulnerabilities(_asked: argparse.Namespace) -> int:
    report = vulnerabilities.look()
    for finding in report.findings:
        _say(str(finding))
    if report.unanswered:
        some = report.unanswered[0]
        _say(f"NOT ASKED: {len(report.unanswered)} locked distributions, of which nothing is known here; {some}")
    if not report.reached:
        _say("The service for vulnerabilities could not be reached, or knows none of them: NOTHING WAS CHECKED.")
        return os.EX_UNAVAILABLE
    _say(f"{report.asked} locked distributions were checked: {len(report.findings)} known vulnerabilities.")
    return 1 if report.findings else 0


def _secrets(_asked: argparse.Namespace) -> int:
    found = secrets.scan(secrets.tracked(ROOT))
    for each in found:
        _say(str(each))
    _say(f"{len(found)} that look like secrets.")
    return 1 if found else 0


def _relock(asked: argparse.Namespace) -> int:
    relock.relock(upgrade=asked.upgrade)
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
