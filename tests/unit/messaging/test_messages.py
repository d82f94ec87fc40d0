"""Bodies, headers, waits and summaries, without a broker."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messaging import Broker, RedeliveryPolicy, wire
from shared.messaging.dead_letters import masked, summary
from shared.messaging.letters import DeadLetter
from shared.messaging.patience import within

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_a_body_comes_out_as_it_went_in(body: dict[str, Any]) -> None:
    assert wire.decode(wire.encode(body)) == body


@given(st.binary(max_size=64))
def test_any_bytes_are_an_object_or_unreadable(data: bytes) -> None:
    try:
        body: Any = wire.decode(data)
    except wire.Unreadable:
        body = {}
    assert isinstance(body, dict)


@given(st.text())
def test_any_reason_becomes_a_header_that_the_broker_keeps_as_it_is(reason: str) -> None:
    text = wire.header_text(reason)
    wire.check("dead.payments.requested", {"Holdfast-Reason": text})
    assert text == text.strip()
    assert len(text) <= 300


def test_waits_grow_to_their_limit_and_never_overflow() -> None:
    policy = RedeliveryPolicy()
    assert [policy.wait_after(number) for number in range(1, 8)] == [0.5, 1, 2, 4, 8, 10, 10]
    assert policy.wait_after(1_000_000) == 10


@pytest.mark.parametrize(
    "wrong", [{"max_deliveries": 0}, {"multiplier": 0.5}, {"ack_wait": 0}, {"first_wait": -1}], ids=str
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a redelivery policy"):
        RedeliveryPolicy(**wrong)


@pytest.mark.parametrize("url", ["http://localhost:1", "localhost:4222", "nats://", "nats://a:1,bad"])
def test_an_address_that_is_not_one_of_nats_stops_the_start(url: str) -> None:
    with pytest.raises(ValueError, match="nats://host:4222"):
        Broker(url)


def test_a_password_in_a_wrong_address_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="nats://host:4222") as raised:
        Broker("http://user:secret@host:1")
    assert "secret" not in str(raised.value)


@given(st.text(min_size=8), JSON)
def test_a_sealed_card_is_never_shown_at_any_depth(card: str, other: Any) -> None:
    hidden = f"CARD{card}CARD"
    body = {"a": [{"sealed_card": hidden, "b": other}], "card": {"number": hidden}, "sealed_card": hidden}
    letter = DeadLetter(1, "s", 1, 1, "", "", "", {}, wire.encode(body)) if _encodable(body) else None
    assert hidden not in str(masked(body))
    if letter is not None:
        assert hidden not in summary(letter)


def _encodable(body: dict[str, Any]) -> bool:
    try:
        wire.encode(body)
    except TypeError:  # lone surrogates
        return False
    return True


def test_a_body_that_cannot_be_read_is_summed_up_by_its_size() -> None:
    assert summary(DeadLetter(1, "s", 1, 1, "", "", "", {}, b"4111 1111")) == "9 bytes, not a JSON object"


async def test_a_cancellation_that_the_client_swallows_still_ends_the_task() -> None:
    entered = asyncio.Event()

    async def swallow() -> None:
        async with within(10):
            entered.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        raise AssertionError("lived on")

    task = asyncio.create_task(swallow())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_block_that_takes_too_long_raises_timeout_error_even_if_it_swallows_the_cancellation() -> None:
    async def swallow() -> None:
        async with within(0.01):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await swallow()


async def test_cleaning_up_inside_a_cancelled_task_is_not_disturbed() -> None:
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            async with within(1):
                await asyncio.sleep(0)
            cleaned.set()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert cleaned.is_set()
