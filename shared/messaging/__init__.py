"""Messages that are not lost: a transactional outbox, JetStream, and workers that settle what they take.

    broker = Broker("nats://127.0.0.1:4222", name="payment-1")
    outbox = Outbox(database, outbox_table(metadata), broker)      # add() in a transaction, notify() after it
    worker = Worker(broker, stream=PAYMENTS, durable="payment", subject="payments.requested", handler=handle)

`Outbox.run` and `Worker.run` are background tasks. What is guaranteed, and what not: docs/messaging.md.
"""

from shared.messaging.breaker_state import NatsTransitionStore
from shared.messaging.broker import Broker
from shared.messaging.letters import DeadLetter, DeadLetters, NoSuchDeadLetter
from shared.messaging.link import BrokerUnavailable
from shared.messaging.outbox import Outbox
from shared.messaging.outbox_table import create_outbox_table, drop_outbox_table, outbox_table
from shared.messaging.redelivery import RedeliveryPolicy
from shared.messaging.streams import DEAD_LETTERS, PAYMENTS, Limits, StreamLimits
from shared.messaging.worker import Message, Reject, Worker

__all__ = [
    "DEAD_LETTERS",
    "PAYMENTS",
    "Broker",
    "BrokerUnavailable",
    "DeadLetter",
    "DeadLetters",
    "Limits",
    "Message",
    "NatsTransitionStore",
    "NoSuchDeadLetter",
    "Outbox",
    "RedeliveryPolicy",
    "Reject",
    "StreamLimits",
    "Worker",
    "create_outbox_table",
    "drop_outbox_table",
    "outbox_table",
]
