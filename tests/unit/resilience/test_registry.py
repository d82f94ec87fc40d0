"""The registry: from a file to pipelines."""

from pathlib import Path

import pytest

from shared.resilience import CallNotPermitted, ConfigError, Registry, RetryBudget
from shared.resilience.events import CallFailed, StateTransition
from shared.resilience.testing import FakeClock, seeded_random
from tests.unit.resilience.dependencies import Dependency, DownError, kinds

CONFIG = """
budgets:
  payment: {floor: 1}
configs:
  default:
    circuit_breaker: {sliding_window_size: 4, minimum_number_of_calls: 2, wait_duration_in_open_state: 5s}
    retry: {max_attempts: 2, wait_duration: 50ms}
instances:
  payment.process: {base_config: default, budget: payment, breaker: payment}
  payment.refund: {base_config: default, budget: payment, breaker: payment, retry: null, timeout: {duration: 1s}}
  stock.read: {base_config: default, idempotent: true, deadline: 1s, bulkhead: {}, hedge: {delay: 20ms}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "resilience.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def registry(file: Path, clock: FakeClock) -> Registry:
    return Registry.from_file(file, clock=clock, random=seeded_random())


def test_each_instance_has_the_layers_that_it_configures(registry: Registry) -> None:
    assert {name: list(pipeline.layers) for name, pipeline in registry.pipelines.items()} == {
        "payment.process": ["deadline", "fallback", "retry", "circuit_breaker", "faults"],
        "payment.refund": ["deadline", "fallback", "circuit_breaker", "timeout", "faults"],
        "stock.read": ["deadline", "fallback", "retry", "hedge", "circuit_breaker", "bulkhead", "faults"],
    }


def test_an_unknown_pipeline_is_refused_with_those_that_are_known(registry: Registry) -> None:
    with pytest.raises(KeyError, match=r"no instance 'payment\.charge' .*; known are payment\.process"):
        registry.pipeline("payment.charge")


def test_a_wrong_file_stops_the_start(file: Path) -> None:
    file.write_text(CONFIG.replace("50ms", "soon"))
    with pytest.raises(ConfigError, match=r"resilience\.yaml:7: retry\.wait_duration: 'soon' is not a duration"):
        Registry.from_file(file)


def test_instances_share_a_breaker_and_a_budget_by_name(registry: Registry) -> None:
    process, refund = registry.pipeline("payment.process"), registry.pipeline("payment.refund")
    assert process.circuit_breaker is refund.circuit_breaker
    assert process.budget is refund.budget
    assert list(registry.breakers) == ["payment", "stock.read"]
    assert list(registry.budgets) == ["payment", "stock.read"]
    assert isinstance(registry.budgets["payment"], RetryBudget)
    assert registry.budgets["payment"].config.floor == 1


async def test_what_one_instance_breaks_the_other_refuses(registry: Registry, clock: FakeClock) -> None:
    with pytest.raises(DownError):
        await clock.run(registry.pipeline("payment.process").call(Dependency(clock, DownError()), idempotent=True))
    with pytest.raises(CallNotPermitted, match="'payment' is open"):
        await registry.pipeline("payment.refund").call(Dependency(clock, 1))


async def test_an_instance_can_declare_its_calls_safe(registry: Registry, clock: FakeClock) -> None:
    assert await clock.run(registry.pipeline("stock.read").call(Dependency(clock, DownError(), 7))) == 7


async def test_a_listener_hears_every_pipeline_and_each_breaker_once(registry: Registry, clock: FakeClock) -> None:
    heard: list = []
    end = registry.subscribe(heard.append, CallFailed, StateTransition)
    for name in ("payment.process", "payment.refund"):
        with pytest.raises(DownError):
            await clock.run(registry.pipeline(name).call(Dependency(clock, DownError())))
    assert kinds(heard) == ["CallFailed", "CallFailed", "StateTransition"]
    end()
    registry.breakers["payment"].reset()
    assert len(heard) == 3
