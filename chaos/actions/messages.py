"""Messages that nobody can handle, sent to the queue of payments as a careless operator would."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import nats
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from chaos.session import current
from chaos.targets.target import Broker

_SUBJECT, _DEAD = "payments.requested", "DEAD_LETTERS"
_SECONDS = 5.0
_MOST_LETTERS = 500


def poison(count: int) -> None:
    """Publish so many messages that are no payment. Their dead letters are taken away at the end of the fault."""
    session = current()
    broker, marker = session.target.broker(), session.run
    body = json.dumps({"poison": marker}).encode()

    async def send(stream: JetStreamContext) -> None:
        for _ in range(count):
            await stream.publish(_SUBJECT, body, timeout=_SECONDS)

    async def sweep(stream: JetStreamContext) -> None:
        state = (await stream.stream_info(_DEAD)).state
        for number in range(max(state.first_seq, state.last_seq - _MOST_LETTERS), state.last_seq + 1):
            try:
                letter = await stream.get_msg(_DEAD, number)
            except NotFoundError:
                continue
            if marker.encode() in (letter.data or b""):
                await stream.delete_msg(_DEAD, number)

    session.at_lift(lambda: asyncio.run(_with(broker, sweep)))
    with session.fault(f"{count} messages to {_SUBJECT} that are no payment"):
        asyncio.run(_with(broker, send))


async def _with(broker: Broker, does: Callable[[JetStreamContext], Awaitable[None]]) -> None:
    client = await nats.connect(
        broker.url, user=broker.user, password=broker.password, connect_timeout=int(_SECONDS), allow_reconnect=False
    )
    try:
        await does(client.jetstream(timeout=_SECONDS))
    finally:
        await client.close()
