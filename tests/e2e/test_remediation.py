"""The local actuator on a running stack: it scales, restarts and drains through the stack's own commands."""

import os
from collections.abc import Iterator

import httpx
import pytest

from infra.local import envoy
from infra.local.harness import running_stack
from infra.local.settings import PREFIX
from infra.local.stack import LocalStack
from ml.remediation.actuators.local import LocalActuator
from ml.remediation.actuators.protocol import ActuatorError, Failure
from ml.remediation.limits import Fleet
from tests.fixtures.waiting import until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    directory = tmp_path_factory.mktemp("remediation") / ".local"
    with running_stack(directory, replicas_payment_v2=0, slots_payment=3) as stack:
        yield stack


@pytest.fixture
def actuator(stack: LocalStack) -> LocalActuator:
    told = {f"{PREFIX}{key.upper()}": str(value) for key, value in stack.settings.model_dump().items()}
    return LocalActuator(os.environ | told)


def instances(stack: LocalStack, requests: int = 12) -> set[str]:
    """Which payment replicas answer through the mesh."""
    with httpx.Client(timeout=10) as client:
        return {client.get(f"{stack.url('payment')}/info").json()["instance"] for _ in range(requests)}


async def test_it_scales_drains_lets_back_and_restarts(stack: LocalStack, actuator: LocalActuator) -> None:
    before = await actuator.fleet("payment")
    assert before.wanted == before.ready
    await actuator.scale("payment", before=before.wanted, to=2)
    assert await actuator.fleet("payment") == Fleet(2, 2)
    with pytest.raises(ActuatorError) as caught:
        await actuator.scale("payment", before=3, to=2)
    assert caught.value.failure is Failure.CONFLICT
    with pytest.raises(ActuatorError) as caught:
        await actuator.scale("payment", before=2, to=9)
    assert caught.value.failure is Failure.REFUSED
    assert await actuator.fleet("payment") == Fleet(2, 2)

    if envoy.runs(stack.settings):
        drained = await actuator.drain("payment", 300)
        until(lambda: drained not in instances(stack))
        assert await actuator.fleet("payment") == Fleet(2, 2)  # it runs on
        with pytest.raises(ActuatorError):
            await actuator.drain("payment", 300)  # the last one in the mesh stays
        await actuator.undrain("payment", drained)
        until(lambda: instances(stack) == {"payment-1", "payment-2"})
        await actuator.undrain("payment", drained)

    pids = stack.pids("payment")
    await actuator.restart("payment")
    assert not set(pids.values()) & set(stack.pids("payment").values())
    with pytest.raises(ActuatorError) as caught:
        await actuator.fleet("nobody")
    assert caught.value.failure is Failure.MISSING
