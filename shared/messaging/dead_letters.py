"""Look at dead letters, send them again, or throw them away.

    python -m shared.messaging.dead_letters list [--limit N] [--after ID]
    python -m shared.messaging.dead_letters show ID
    python -m shared.messaging.dead_letters replay ID | --all
    python -m shared.messaging.dead_letters discard ID

Reads NATS_URL and NATS_USER from the environment, and the password from the file `nats_password` in SECRETS_DIR.
Sealed cards are never shown. Exit codes: 0 done, 1 no such dead letter, 2 wrong arguments, 69 the broker is away,
78 wrong configuration (sysexits.h).
"""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import structlog

from shared.messaging.broker import Broker
from shared.messaging.letters import DeadLetter, DeadLetters, NoSuchDeadLetter
from shared.messaging.link import BrokerUnavailable

EX_UNAVAILABLE, EX_CONFIG = 69, 78
_CONNECT_SECONDS = 5.0

_SECRET_KEYS = frozenset({"sealed_card", "card", "number", "cvc"})
_MASK = "***"
_COLUMNS = ("ID", "DIED", "SUBJECT", "DELIVERIES", "REASON", "BODY")
_WIDEST = 60


def masked(value: Any) -> Any:
    """`value` with everything about a card replaced, at any depth."""
    if isinstance(value, dict):
        return {key: _MASK if key in _SECRET_KEYS else masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item) for item in value]
    return value


def summary(letter: DeadLetter) -> str:
    """The body in one line: its keys, with the values that are short and no secret."""
    if (body := letter.body) is None:
        return f"{len(letter.data)} bytes, not a JSON object"
    return " ".join(_pair(key, value) for key, value in masked(body).items())


def _pair(key: str, value: Any) -> str:
    if isinstance(value, dict | list):
        return key
    return f"{key}={str(value)[:30]}"


def _table(letters: Sequence[DeadLetter]) -> Iterator[str]:
    rows = [_COLUMNS, *(_row(letter) for letter in letters)]
    widths = [min(max(len(row[column]) for row in rows), _WIDEST) for column in range(len(_COLUMNS) - 1)]
    for row in rows:
        cells = [cell[:width].ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()


def _row(letter: DeadLetter) -> tuple[str, ...]:
    return (
        str(letter.sequence),
        letter.died_at,
        letter.subject,
        str(letter.deliveries),
        letter.reason,
        summary(letter),
    )


def _details(letter: DeadLetter) -> Iterator[str]:
    yield f"id          {letter.sequence}"
    yield f"subject     {letter.subject}"
    yield f"died        {letter.died_at} after {letter.deliveries} deliveries"
    yield f"reason      {letter.reason}"
    yield f"message id  {letter.message_id} (sequence {letter.original_sequence})"
    for name, value in letter.headers.items():
        yield f"header      {name}: {value}"
    if (body := letter.body) is None:
        yield f"body        {summary(letter)}"
    else:
        yield f"body        {orjson.dumps(masked(body), option=orjson.OPT_INDENT_2).decode()}"


async def _list(letters: DeadLetters, arguments: argparse.Namespace) -> Iterator[str]:
    found = await letters.list(after=arguments.after, limit=arguments.limit)
    return _table(found) if found else iter(["no dead letters"])


async def _show(letters: DeadLetters, arguments: argparse.Namespace) -> Iterator[str]:
    return _details(await letters.get(arguments.id))


async def _replay(letters: DeadLetters, arguments: argparse.Namespace) -> Iterator[str]:
    if not arguments.all:
        return iter([_replayed(await letters.replay(arguments.id))])
    count = await letters.replay_all()
    return iter([f"{count} sent again" if count else "no dead letters"])


def _replayed(letter: DeadLetter) -> str:
    return f"{letter.sequence} sent again to {letter.subject}"


async def _discard(letters: DeadLetters, arguments: argparse.Namespace) -> Iterator[str]:
    await letters.discard(arguments.id)
    return iter([f"{arguments.id} discarded"])


_COMMANDS = {"list": _list, "show": _show, "replay": _replay, "discard": _discard}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m shared.messaging.dead_letters", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="one line each, oldest first")
    listing.add_argument("--limit", type=int, default=100, help="at most so many")
    listing.add_argument("--after", type=int, default=0, metavar="ID", help="only later ones")
    commands.add_parser("show", help="everything about one").add_argument("id", type=int)
    replay = commands.add_parser(
        "replay", help="publish to the original subject, then remove"
    ).add_mutually_exclusive_group(required=True)
    replay.add_argument("id", type=int, nargs="?")
    replay.add_argument("--all", action="store_true", help="every one that is there now")
    commands.add_parser("discard", help="remove for good").add_argument("id", type=int)
    return parser.parse_args(argv)


class _Misconfigured(Exception):
    pass


def _broker() -> Broker:
    url = os.environ.get("NATS_URL", "")
    if not url:
        raise _Misconfigured("NATS_URL is not set; with the local stack: NATS_URL=nats://127.0.0.1:4222")
    password, directory = "", os.environ.get("SECRETS_DIR", "")
    if directory:
        file = Path(directory) / "nats_password"
        try:
            password = file.read_text().strip()
        except OSError as error:
            raise _Misconfigured(f"SECRETS_DIR: {file}: {error.strerror}") from error
    try:
        return Broker(url, user=os.environ.get("NATS_USER", ""), password=password, name="dead-letters")
    except ValueError as error:
        raise _Misconfigured(f"NATS_URL: {error}") from error


async def _run(broker: Broker, arguments: argparse.Namespace) -> Iterator[str]:
    await broker.start()
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await broker.wait_connected()
        return await _COMMANDS[arguments.command](DeadLetters(broker), arguments)
    finally:
        await broker.stop()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = _arguments(argv)
    try:
        lines = asyncio.run(_run(_broker(), arguments))
    except _Misconfigured as error:
        return _fail(EX_CONFIG, str(error))
    except NoSuchDeadLetter as error:
        return _fail(1, f"no dead letter {error}; `list` shows those that there are")
    except TimeoutError:
        return _fail(
            EX_UNAVAILABLE,
            f"{os.environ['NATS_URL']} does not let us in within {_CONNECT_SECONDS:g} s; is it up, and are NATS_USER "
            "and the file nats_password in SECRETS_DIR right?",
        )
    except BrokerUnavailable as error:
        return _fail(EX_UNAVAILABLE, f"the broker did not do it ({error}); nothing is lost, try again")
    for line in lines:
        sys.stdout.write(f"{line}\n")
    return 0


def _fail(code: int, message: str) -> int:
    sys.stderr.write(f"dead_letters: {message}\n")
    return code


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    sys.exit(main())
