"""Messages that no worker can handle, published on purpose: they must end among the dead letters, and stop nobody."""

import asyncio
import secrets
from typing import Final

import orjson

from infra.local import nats
from infra.local import secrets as stack_secrets
from infra.local.errors import StackError
from infra.local.stack import LocalStack

_CONNECT_SECONDS = 5.0

BODIES: Final[dict[str, bytes]] = {
    "undecodable": b"\xff\xfe{not json",
    "ill-typed": orjson.dumps({"payment_key": 7, "amount": "many", "currency": None, "sealed_card": []}),
}
"""What can be wrong with a body: it cannot be read, or its fields are not what they should be."""


def publish(stack: LocalStack, subject: str, what: str) -> str:
    """Publish one poisonous message as the operator; returns its message id.

    Raises:
        StackError: the broker is away, or no stream takes the subject.
    """
    # here, as every other command of the stack is quicker done than this is imported
    from shared.messaging import BrokerUnavailable

    message_id = f"poison-{secrets.token_hex(4)}"
    try:
        asyncio.run(_publish(stack, subject, BODIES[what], message_id))
    except TimeoutError as error:
        raise StackError(f"The broker does not let us in within {_CONNECT_SECONDS:.0f} s.", "make status") from error
    except (BrokerUnavailable, ValueError) as error:
        raise StackError(f"The broker did not take the message: {error}") from error
    return message_id


async def _publish(stack: LocalStack, subject: str, body: bytes, message_id: str) -> None:
    from shared.messaging import Broker
    from shared.messaging.wire import MESSAGE_ID

    broker = Broker(
        nats.url(stack.settings),
        user=stack_secrets.OPERATOR,
        password=stack.secret(stack_secrets.OPERATOR, "nats_password"),
        name="poison",
    )
    await broker.start()
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await broker.wait_connected()
        await broker.publish_bytes(subject, body, {MESSAGE_ID: message_id})
    finally:
        await broker.stop()
