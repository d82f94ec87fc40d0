"""The connection to a real NATS server that comes, goes, hangs and refuses."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

import nats
import pytest
from nats.js.api import StreamConfig
from structlog.testing import capture_logs

from shared.messaging import DEAD_LETTERS, PAYMENTS, Broker, BrokerUnavailable, Limits
from tests.fixtures.nats import NatsServer
from tests.integration.messaging.conftest import Connect, eventually


async def stored(broker: Broker, stream: str = PAYMENTS) -> int:
    return (await (await broker.link()).jetstream.stream_info(stream)).state.messages


async def test_both_streams_exist_once_connected(nats_server: NatsServer, connect: Connect) -> None:
    link = await (await connect(nats_server.url)).link()

    payments = (await link.jetstream.stream_info(PAYMENTS)).config
    dead = (await link.jetstream.stream_info(DEAD_LETTERS)).config

    assert (payments.subjects, dead.subjects) == (["payments.>"], ["dead.>"])
    assert payments.storage == dead.storage == "file"
    assert payments.duplicate_window == dead.duplicate_window == 120
    assert (payments.max_age, payments.max_bytes, payments.max_msgs) == (604_800, 256 * 2**20, 500_000)


async def test_the_same_message_id_is_stored_once(nats_server: NatsServer, connect: Connect) -> None:
    broker = await connect(nats_server.url)

    for _ in range(3):
        await broker.publish("payments.requested", {"amount": 1}, message_id="one")
    await broker.publish("payments.requested", {"amount": 1}, message_id="two")

    assert await stored(broker) == 2


async def test_starting_neither_fails_nor_waits_while_the_broker_is_away(
    make_nats: Callable[..., NatsServer], connect: Connect
) -> None:
    server = make_nats()
    broker = await connect(server.url, wait=False)

    started = monotonic()
    with pytest.raises(BrokerUnavailable, match="not connected"):
        await broker.publish("payments.requested", {}, message_id="early")
    assert monotonic() - started < 1.5
    assert not broker.connected

    await server.start_soon()
    async with asyncio.timeout(30):
        await broker.wait_connected()
    await broker.publish("payments.requested", {}, message_id="later")
    assert await stored(broker) == 1


async def test_a_server_whose_name_is_not_found_is_passed_over_and_all_of_them_are_tried_for_ever(
    make_nats: Callable[..., NatsServer], connect: Connect
) -> None:
    server = make_nats()
    with capture_logs() as said:
        broker = await connect(f"nats://broker.invalid:4222,{server.url}", wait=False)
        await eventually(lambda: any(line["event"] == "broker unavailable, trying on" for line in said))
    await server.start_soon()
    async with asyncio.timeout(30):
        await broker.wait_connected()
    await broker.publish("payments.requested", {}, message_id="found")


async def test_an_empty_url_means_that_no_broker_is_configured(connect: Connect) -> None:
    broker = await connect("", wait=False)

    with pytest.raises(BrokerUnavailable, match="no broker is configured"):
        await broker.publish("payments.requested", {}, message_id="never")
    assert not broker.connected
    await broker.stop()


async def test_it_reconnects_as_often_as_the_broker_is_killed(nats_server: NatsServer, connect: Connect) -> None:
    broker = await connect(nats_server.url)
    for round_ in range(3):
        nats_server.kill()
        await eventually(lambda: not broker.connected)
        await nats_server.start_soon()
        await eventually(lambda: broker.connected)
        await broker.publish("payments.requested", {}, message_id=f"round-{round_}")
    assert await stored(broker) == 3


async def test_a_broker_that_hangs_is_noticed_and_taken_back(nats_server: NatsServer, connect: Connect) -> None:
    broker = await connect(nats_server.url)
    nats_server.pause()

    started = monotonic()
    with pytest.raises(BrokerUnavailable, match="no confirmation within 2 s"):
        await broker.publish("payments.requested", {}, message_id="into the void")
    assert 1.9 < monotonic() - started < 20.0
    await eventually(lambda: not broker.connected)

    nats_server.resume()
    await eventually(lambda: broker.connected)
    await broker.publish("payments.requested", {}, message_id="after")


async def test_a_publish_under_way_fails_at_once_when_the_connection_is_lost(
    nats_server: NatsServer, connect: Connect
) -> None:
    broker = await connect(nats_server.url)
    nats_server.pause()
    waiting = asyncio.create_task(broker.publish("payments.requested", {}, message_id="waits"))
    await asyncio.sleep(0)

    started = monotonic()
    nats_server.kill()
    with pytest.raises(BrokerUnavailable):
        await waiting
    assert monotonic() - started < 1.8  # a confirmation is waited for 2 s


async def test_a_flood_of_publishes_to_a_hanging_broker_is_refused_beyond_a_bound(
    nats_server: NatsServer, connect: Connect
) -> None:
    broker = await connect(nats_server.url)
    nats_server.pause()
    flood = [
        asyncio.create_task(broker.publish("payments.requested", {}, message_id=f"flood-{number}"))
        for number in range(1_200)
    ]
    results = await asyncio.gather(*flood, return_exceptions=True)

    refused = [result for result in results if "requests wait for an answer already" in str(result)]
    assert len(refused) == 200
    assert all(isinstance(result, BrokerUnavailable) for result in results)
    nats_server.resume()


async def test_a_wrong_password_is_tried_again_and_never_raises(
    make_nats: Callable[..., NatsServer], connect: Connect
) -> None:
    server = make_nats(config='authorization { users: [ { user: "payment", password: "right" } ] }')
    await server.start_soon()

    refused = await connect(server.url, wait=False, user="payment", password="wrong")
    admitted = await connect(server.url, user="payment", password="right")

    await admitted.publish("payments.requested", {}, message_id="allowed")
    with pytest.raises(BrokerUnavailable):
        await refused.publish("payments.requested", {}, message_id="refused")


async def test_a_stream_with_other_settings_is_left_alone(nats_server: NatsServer, connect: Connect) -> None:
    client = await nats.connect(nats_server.url)
    await client.jetstream().add_stream(StreamConfig(name=PAYMENTS, subjects=["payments.>"], max_msgs=7))
    await client.close()

    broker = await connect(nats_server.url)
    await broker.publish("payments.requested", {}, message_id="fits")

    info = await (await broker.link()).jetstream.stream_info(PAYMENTS)
    assert (info.config.max_msgs, info.state.messages) == (7, 1)


async def test_a_full_stream_refuses_the_new_and_keeps_the_old(nats_server: NatsServer, connect: Connect) -> None:
    limits = Limits()
    broker = await connect(nats_server.url, limits=replace(limits, payments=replace(limits.payments, max_messages=2)))
    await broker.publish("payments.requested", {}, message_id="first")
    await broker.publish("payments.requested", {}, message_id="second")

    with pytest.raises(BrokerUnavailable, match="maximum messages exceeded"):
        await broker.publish("payments.requested", {}, message_id="third")

    first = await (await broker.link()).jetstream.get_msg(PAYMENTS, seq=1)
    assert first.headers == {"Nats-Msg-Id": "first"}


async def test_a_stream_deleted_under_a_live_connection_comes_back(nats_server: NatsServer, connect: Connect) -> None:
    broker = await connect(nats_server.url)
    await (await broker.link()).jetstream.delete_stream(PAYMENTS)

    with pytest.raises(BrokerUnavailable, match="no stream takes"):
        await broker.publish("payments.requested", {}, message_id="lost")

    async def accepted() -> bool:
        try:
            await broker.publish("payments.requested", {}, message_id="again")
        except BrokerUnavailable:
            return False
        return True

    await eventually(accepted)


@pytest.mark.parametrize(
    ("subject", "headers"),
    [
        ("", {}),
        ("payments.*", {}),
        ("payments.a b", {}),
        ("payments.a\r\nPUB x", {}),
        ("payments..a", {}),
        ("payments.a", {"x y": "1"}),
        ("payments.a", {"x": "1\r\ny: 2"}),
        ("payments.a", {"x": "ü"}),
    ],
)
async def test_what_no_broker_would_take_as_it_is_raises_value_error(subject: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"not a (subject|header)"):
        await Broker("").publish(subject, {}, message_id="bad", headers=headers)


async def test_a_body_beyond_the_limit_raises_value_error() -> None:
    with pytest.raises(ValueError, match="the limit is 262144"):
        await Broker("").publish("payments.requested", {"text": "x" * 262_144}, message_id="large")
