"""The command line of the auditor: `python -m infra.audit`, exit code 0 clean, 1 broken, 2 not readable."""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.audit.answers import BadAnswers, read_answers
from infra.audit.databases import Unreadable
from infra.audit.money import MONEY
from infra.audit.promises import PROMISED
from infra.audit.reading import Urls, read
from infra.audit.report import as_json, as_text
from infra.audit.stock import STOCK
from infra.audit.verdicts import judge

CLEAN, BROKEN, UNREADABLE = 0, 1, 2
INVARIANTS = (*MONEY, *STOCK, *PROMISED)
SERVICES = ("order", "payment", "inventory")


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit once; returns the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        answers = read_answers(chosen.answers) if chosen.answers else []
        evidence = asyncio.run(
            read(
                Urls(**{service: _url(service, getattr(chosen, service), os.environ) for service in SERVICES}),
                answers=answers,
                recovery_seconds=chosen.recovery_limit,
                all_settled=chosen.settled,
            )
        )
        verdicts = list(judge(INVARIANTS, evidence))
        sys.stdout.write(as_text(verdicts))
        if chosen.json:
            chosen.json.write_text(as_json(verdicts), encoding="utf-8")
    except (Unreadable, BadAnswers, OSError) as error:
        sys.stderr.write(f"audit: {error}\n")
        return UNREADABLE
    return CLEAN if all(verdict.holds for verdict in verdicts) else BROKEN


def _url(service: str, given: str | None, environ: Mapping[str, str]) -> str:
    """The URL given, or that of the environment, or that of the local stack."""
    name = f"{service.upper()}_DATABASE_URL"
    if url := given or environ.get(name):
        return url
    if file := environ.get(f"{name}_FILE"):
        return Path(file).read_text(encoding="utf-8").strip()
    return _url_of_the_stack(service)


def _url_of_the_stack(service: str) -> str:
    # Imported here: in a container the auditor has its addresses from the environment, and no stack to ask.
    from infra.local import sources
    from infra.local.errors import StackError
    from infra.local.operator import database_urls

    try:
        return database_urls(sources.load())[service]
    except FileNotFoundError:
        raise Unreadable(service, "the local stack was never started", f"make up, or give --{service} URL") from None
    except StackError as error:
        raise Unreadable(service, error.problem, error.mend or f"give --{service} URL") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.audit", description=__doc__)
    for service in SERVICES:
        where = f"database URL; default ${service.upper()}_DATABASE_URL (or _FILE), then the local stack's"
        parser.add_argument(f"--{service}", metavar="URL", help=where)
    parser.add_argument(
        "--answers", type=Path, metavar="FILE.jsonl", help="what clients were told: infra.load's record"
    )
    parser.add_argument(
        "--recovery-limit",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long an order may be under way since it was last touched (60)",
    )
    parser.add_argument("--settled", action="store_true", help="nothing may be under way any more, however young")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdicts there too")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("between 0 and 86400 seconds")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
