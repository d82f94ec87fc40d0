"""The real process, killed with SIGKILL in the middle of a call and started again."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from shared.chassis.auth import TokenSigner
from shared.chassis.database import Database
from shared.chassis.migrations import migrate
from tests.integration.payment.counter import ADMIN_TOKEN, EDGE_KEY, SEALING_KEY, encode, order
from tests.integration.payment.till import MIGRATIONS, audit, network_memory
from tests.integration.payment.waiting import until

ROOT = Path(__file__).parents[3]
LATENCY_MS = 600  # half of it on either side of the charge: long enough to strike in between


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """`python -m services.payment`, as the stack starts it."""

    def __init__(self, database_url: str, secrets: Path, log: Path) -> None:
        self._port = free_port()
        self._log = log
        self._environment = {
            **os.environ,
            "INSTANCE": "payment-1",
            "PORT": str(self._port),
            "DATABASE_URL": database_url,
            "SECRETS_DIR": str(secrets),
            "CARD_NETWORK_LATENCY_MEDIAN_MS": str(LATENCY_MS),
            "CARD_NETWORK_LATENCY_P99_MS": str(LATENCY_MS),
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[httpx.AsyncClient]:
        """Start it, wait until it is ready, and kill it at the end if it still runs."""
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.payment", cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
        token = TokenSigner("order", "payment", EDGE_KEY).token()
        headers = {"authorization": f"Bearer {token}"}
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}", headers=headers, timeout=20) as to:
                await until(lambda: self._answers(to))
                self.kill = lambda: process.send_signal(signal.SIGKILL)
                yield to
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _answers(self, to: httpx.AsyncClient) -> bool:
        try:
            return (await to.get("/health/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def break_off(self, path: str, body: dict, when: Callable[[], Awaitable[bool]]) -> None:
        """Make a call and kill the process once `when` holds, before it can answer."""
        async with self.running() as to:
            await self.break_off_at(to, path, body, when)

    async def break_off_at(
        self, to: httpx.AsyncClient, path: str, body: dict, when: Callable[[], Awaitable[bool]]
    ) -> None:
        """The same, to the process that runs."""
        call = asyncio.create_task(to.post(path, json=body))
        await until(when)
        self.kill()
        with pytest.raises(httpx.TransportError):
            await call


@pytest.fixture
def process(database_url: str, tmp_path: Path) -> Process:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "admin_token").write_text(ADMIN_TOKEN)
    (secrets / "order_to_payment_key").write_text(EDGE_KEY.get_secret_value())
    (secrets / "card_sealing_private_key").write_text(encode(bytes(SEALING_KEY)))
    return Process(database_url, secrets, tmp_path / "payment.log")


@pytest.fixture
async def seen(database_url: str) -> AsyncIterator[Database]:
    """The database, looked into from outside."""
    database = Database(database_url)
    await migrate(database, MIGRATIONS)
    yield database
    await database.close()


@pytest.mark.slow
async def test_a_process_killed_in_a_charge_and_in_a_refund_moves_no_money_twice(
    process: Process, seen: Database
) -> None:
    async def state_is(state: str) -> bool:
        async with seen.read() as connection:
            found = await connection.execute(text("SELECT 1 FROM payments WHERE state = :state"), {"state": state})
            return found.one_or_none() is not None

    async def network_says(state: str) -> bool:
        return [known for known, _, _ in (await network_memory(seen)).values()] == [state]

    refund = {"payment_key": "order-1", "reason": "late"}
    await process.break_off("/process", order(), lambda: state_is("PROCESSING"))
    assert await network_memory(seen) == {}
    await process.break_off("/process", order(), lambda: network_says("CAPTURED"))
    assert await state_is("PROCESSING")
    async with process.running() as to:
        captured = await to.post("/process", json=order())
        assert (captured.status_code, captured.json()["status"]) == (200, "CAPTURED")
        await audit(seen)
        await process.break_off_at(to, "/refund", refund, lambda: state_is("REFUNDING"))
    assert await network_says("CAPTURED")
    await process.break_off("/refund", refund, lambda: network_says("REFUNDED"))
    assert await state_is("REFUNDING")
    async with process.running() as to:
        refunded = await to.post("/refund", json=refund)
        assert (refunded.status_code, refunded.json()["status"]) == (200, "REFUNDED")
    await audit(seen)
