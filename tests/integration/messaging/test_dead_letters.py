"""Dead letters, as the admin API and an operator at the command line handle them."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from shared.messaging import (
    DEAD_LETTERS,
    PAYMENTS,
    Broker,
    BrokerUnavailable,
    DeadLetters,
    Message,
    NoSuchDeadLetter,
    Reject,
    dead_letters,
)
from shared.messaging.letters import Death, bury
from tests.fixtures.nats import NatsServer
from tests.integration.messaging.conftest import Connect, Run, eventually, payments

Cli = Callable[..., Awaitable[tuple[int, str, str]]]


def death(sequence: int, reason: str = "no use") -> Death:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return Death("payments.requested", PAYMENTS, sequence, "payment", 12, 1_800_000_000_000_000_000, reason, at)


async def bury_all(broker: Broker, *bodies: dict[str, Any]) -> None:
    for number, body in enumerate(bodies, start=1):
        await bury(broker, death(number), orjson.dumps(body), {"Nats-Msg-Id": f"m-{number}", "x-shop": "berlin"})


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`await cli(server, *arguments, **environment)`: exit code, stdout and stderr of one command."""

    async def command(server: NatsServer | str, *arguments: str, **environment: str) -> tuple[int, str, str]:
        known = {"NATS_URL": server if isinstance(server, str) else server.url, "NATS_USER": "", "SECRETS_DIR": ""}
        for name, value in {**known, **environment}.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        with capture_logs():
            code = await asyncio.to_thread(dead_letters.main, arguments)  # it runs a loop of its own
        return code, *capsys.readouterr()

    return command


async def test_the_same_death_stored_twice_is_one_dead_letter(nats_server: NatsServer, connect: Connect) -> None:
    broker = await connect(nats_server.url)
    for _ in range(2):
        await bury(broker, death(7), b"{}", {})
    assert [letter.original_sequence for letter in await DeadLetters(broker).list()] == [7]


async def test_a_replayed_message_is_handled_and_its_dead_letter_is_gone(
    nats_server: NatsServer, connect: Connect, run: Run
) -> None:
    broker, mended, handled = await connect(nats_server.url), False, []

    async def handler(message: Message) -> None:
        if not mended:
            raise Reject("unknown currency")
        handled.append(message)

    run(payments(broker, handler).run())
    await broker.publish("payments.requested", {"currency": "XYZ"}, message_id="m-1", headers={"x-shop": "berlin"})
    letters = DeadLetters(broker)
    await eventually(letters.list)
    mended = True

    (letter,) = await letters.list()
    await letters.replay(letter.sequence)

    await eventually(lambda: handled)
    assert (handled[0].body, handled[0].deliveries) == ({"currency": "XYZ"}, 1)
    assert handled[0].headers["x-shop"] == "berlin"
    assert handled[0].headers["Nats-Msg-Id"] != "m-1"  # or the broker would drop it as a duplicate
    assert not any(name.startswith("Holdfast-") for name in handled[0].headers)
    assert await letters.list() == []


async def test_a_replay_that_is_not_confirmed_keeps_the_dead_letter(nats_server: NatsServer, connect: Connect) -> None:
    broker = await connect(nats_server.url)
    await bury_all(broker, {"amount": 1})
    await (await broker.link()).jetstream.delete_stream(PAYMENTS)

    with pytest.raises(BrokerUnavailable):
        await DeadLetters(broker).replay(1)

    assert len(await DeadLetters(broker).list()) == 1


async def test_a_replay_repeated_after_a_crash_before_the_removal_is_stored_once(
    nats_server: NatsServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = await connect(nats_server.url)
    await bury_all(broker, {"amount": 1})
    letters = DeadLetters(broker)

    async def crash(_sequence: int) -> None:
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(letters, "discard", crash)
        with pytest.raises(InterruptedError):
            await letters.replay(1)
    await letters.replay(1)

    assert (await (await broker.link()).jetstream.stream_info(PAYMENTS)).state.messages == 1
    assert await letters.list() == []


async def test_listing_goes_on_after_a_sequence_and_over_gaps(nats_server: NatsServer, connect: Connect) -> None:
    broker = await connect(nats_server.url)
    await bury_all(broker, *({"n": number} for number in range(6)))
    letters = DeadLetters(broker)
    await letters.discard(3)

    first = await letters.list(limit=3)
    rest = await letters.list(after=first[-1].sequence, limit=3)

    assert [letter.sequence for letter in first + rest] == [1, 2, 4, 5, 6]


async def test_replaying_all_leaves_what_dies_meanwhile_for_the_next_time(
    nats_server: NatsServer, connect: Connect, run: Run
) -> None:
    broker, refused = await connect(nats_server.url), []

    async def handler(message: Message) -> None:
        refused.append(message)
        raise Reject("still no use")

    await bury_all(broker, {"n": 1}, {"n": 2}, {"n": 3})
    run(payments(broker, handler).run())

    assert await DeadLetters(broker).replay_all() == 3

    await eventually(lambda: len(refused) == 3)

    async def dead_again() -> bool:
        return len(await DeadLetters(broker).list()) == 3

    await eventually(dead_again)
    assert all(letter.sequence > 3 for letter in await DeadLetters(broker).list())


@pytest.mark.parametrize("sequence", [0, -1, 99])
async def test_a_sequence_that_does_not_exist_is_said_so(
    nats_server: NatsServer, connect: Connect, sequence: int
) -> None:
    letters = DeadLetters(await connect(nats_server.url))
    for operation in (letters.get, letters.replay, letters.discard):
        with pytest.raises(NoSuchDeadLetter):
            await operation(sequence)


async def test_the_command_line_lists_shows_replays_and_discards(
    nats_server: NatsServer, connect: Connect, cli: Cli
) -> None:
    broker = await connect(nats_server.url)
    card = "c2VhbGVkLWNhcmQtc2VjcmV0"
    await bury_all(
        broker,
        {"payment_key": "pay_1", "amount": 1299, "sealed_card": card, "nested": {"card": card}},
        {"amount": 2},
        {},
    )

    code, listed, _ = await cli(nats_server, "list")
    header, line, *_ = listed.splitlines()
    assert code == 0
    assert header.split() == ["ID", "DIED", "SUBJECT", "DELIVERIES", "REASON", "BODY"]
    for part in ("1 ", "2026-01-02T03:04:05", "payments.requested", " 12 ", "no use", "payment_key=pay_1 amount=1299"):
        assert part in line

    code, shown, _ = await cli(nats_server, "show", "1")
    assert code == 0
    assert '"sealed_card": "***"' in shown
    assert "x-shop: berlin" in shown
    assert card not in listed + shown

    assert await cli(nats_server, "replay", "1") == (0, "1 sent again to payments.requested\n", "")
    assert await cli(nats_server, "discard", "2") == (0, "2 discarded\n", "")
    assert await cli(nats_server, "replay", "--all") == (0, "1 sent again\n", "")
    assert await cli(nats_server, "list") == (0, "no dead letters\n", "")
    jetstream = (await broker.link()).jetstream
    assert (await jetstream.get_msg(PAYMENTS, seq=1)).data.endswith(b"}}")
    assert (await jetstream.stream_info(PAYMENTS)).state.messages == 2
    assert (await jetstream.stream_info(DEAD_LETTERS)).state.messages == 0


async def test_the_command_line_says_what_is_wrong_and_how_to_mend_it(
    make_nats: Callable[..., NatsServer], tmp_path: Path, cli: Cli
) -> None:
    server = make_nats(config='authorization { users: [ { user: "order", password: "right" } ] }')
    secrets = tmp_path / "secrets"
    secrets.mkdir()

    code, _, error = await cli("", "list")
    assert (code, "NATS_URL is not set" in error) == (78, True)
    code, _, error = await cli("http://127.0.0.1:1", "list")
    assert (code, "nats://host:4222" in error) == (78, True)
    code, _, error = await cli(server, "list", NATS_USER="order", SECRETS_DIR=str(secrets))
    assert (code, "nats_password" in error) == (78, True)

    (secrets / "nats_password").write_text("right\n")
    await server.start_soon()
    code, _, error = await cli(server, "show", "41", NATS_USER="order", SECRETS_DIR=str(secrets))
    assert (code, error) == (1, "dead_letters: no dead letter 41; `list` shows those that there are\n")

    (secrets / "nats_password").write_text("wrong")
    code, _, error = await cli(server, "list", NATS_USER="order", SECRETS_DIR=str(secrets))
    assert (code, "is it up" in error) == (69, True)
    assert "wrong" not in error


@pytest.mark.parametrize("arguments", [[], ["replay"], ["show", "x"], ["replay", "1", "--all"]], ids=str)
def test_wrong_arguments_end_with_exit_code_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        dead_letters.main(arguments)
    assert raised.value.code == 2


async def test_as_a_module_it_writes_nothing_but_its_table(nats_server: NatsServer, connect: Connect) -> None:
    await bury_all(await connect(nats_server.url), {"amount": 1})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shared.messaging.dead_letters", "list"),
        env={"PATH": os.environ["PATH"], "NATS_URL": nats_server.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert (process.returncode, error) == (0, b"")
    assert [line.split()[0] for line in out.splitlines()] == [b"ID", b"1"]
