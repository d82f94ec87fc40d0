"""Any interleaving of charges, refunds and lost calls, over several replicas, keeps the books and the network equal."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from services.payment.behaviour import Behaviour
from services.payment.card_network import NetworkUnavailable
from services.payment.cards import Card
from services.payment.records import Payment, State
from shared.chassis.database import Database
from tests.fixtures.examples import examples
from tests.integration.payment.till import GOOD, POOR, audit, charge, ledger_kinds, make_till, network_memory

WORKING = Behaviour(latency_median_ms=1, latency_p99_ms=1)
FATES = {
    "answered": WORKING,
    "request lost": WORKING.model_copy(update={"lost_requests": 1.0}),
    "answer lost": WORKING.model_copy(update={"lost_answers": 1.0}),
    "late": WORKING,  # reaches the network after the other calls of its group have ended
}
GONE = {State.REFUNDING, State.REFUNDED, State.VOIDED}
AMOUNT = 1299

_runs: Iterator[int] = count()


@dataclass(frozen=True)
class Step:
    """One call for one of two orders, and what becomes of it on its way to the network and back."""

    call: str
    order: int
    card: Card
    fate: str


steps = st.builds(
    Step,
    call=st.sampled_from(["process", "process", "refund"]),
    order=st.integers(0, 1),
    card=st.sampled_from([GOOD, GOOD, POOR]),
    fate=st.sampled_from(list(FATES)),
)
scripts = st.lists(st.lists(steps, min_size=1, max_size=5), min_size=1, max_size=5)
"""Groups one after the other; the calls of a group run at the same time."""


class Platform:
    """Replicas over one database, one for each fate of a call, and what callers were told."""

    def __init__(self, database: Database, seed: int) -> None:
        self.database = database
        self._random, self._run = Random(seed), next(_runs)
        self._tills = {
            fate: make_till(database, behaviour, sleep=self._be_late if fate == "late" else self._yield_often)
            for fate, behaviour in FATES.items()
        }
        self._others_ended = asyncio.Event()
        self._gone: set[str] = set()
        self.keys: set[str] = set()

    async def _yield_often(self, _seconds: float) -> None:
        for _ in range(self._random.randrange(8)):
            await asyncio.sleep(0)

    async def _be_late(self, _seconds: float) -> None:
        await self._others_ended.wait()

    async def run(self, group: list[Step]) -> None:
        """Make the calls of a group at the same time, and check what they were told."""
        gone_before = frozenset(self._gone)
        self._others_ended.clear()
        calls = [asyncio.create_task(self._make(step)) for step in group]
        if others := [call for call, step in zip(calls, group, strict=True) if step.fate != "late"]:
            await asyncio.wait(others)
        self._others_ended.set()
        answers = await asyncio.gather(*calls)
        for step, answer in zip(group, answers, strict=True):
            if answer is None:
                continue
            if step.call == "refund":
                assert answer.state in {State.REFUNDED, State.VOIDED, State.DECLINED}
                self._gone.add(answer.payment_key)
            elif answer.payment_key in gone_before:
                assert answer.state in GONE | {State.DECLINED}, "charged after it was void"

    async def _make(self, step: Step) -> Payment | None:
        payments = self._tills[step.fate].payments
        key = f"run-{self._run}-order-{step.order}"
        self.keys.add(key)
        try:
            if step.call == "refund":
                return await payments.refund(key, "a reason")
            return await payments.process(charge(key, AMOUNT, card=step.card))
        except NetworkUnavailable:
            return None

    async def check_money(self) -> None:
        """Holds at any time: no key charged twice, and nothing in the books that the network does not know."""
        memory = await network_memory(self.database)
        for key in self.keys:
            payment = await self._tills["answered"].payments.by_key(key)
            assert payment is not None
            kinds = await ledger_kinds(self.database, payment.transaction_id)
            _, captured, refunded = memory.get(key, ("", 0, 0))
            assert captured in {0, AMOUNT}
            assert kinds.count("capture") * AMOUNT <= captured
            assert kinds.count("refund") * AMOUNT <= refunded
            if key in self._gone:
                assert captured == refunded, "captured after it was void"

    async def finish(self) -> None:
        """What the callers do once the network works again: repeat what has no answer yet."""
        payments = self._tills["answered"].payments
        for key in self.keys:
            payment = await payments.by_key(key)
            assert payment is not None
            if payment.state is State.PROCESSING:
                await payments.process(charge(key, AMOUNT))
            elif payment.state is State.REFUNDING:
                await payments.refund(key, "a reason")


@settings(
    max_examples=examples(30),
    deadline=None,
    phases=set(Phase) - {Phase.explain},  # it would run a failing example hundreds of times more
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(script=scripts, seed=st.integers(0, 2**16))
async def test_books_and_network_agree_after_any_interleaving(
    database: Database, script: list[list[Step]], seed: int
) -> None:
    platform = Platform(database, seed)
    for group in script:
        await platform.run(group)
        await platform.check_money()
    await platform.finish()
    await audit(database)
