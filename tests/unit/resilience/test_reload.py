"""A changed configuration: what follows it, what stays, and how a bad one is refused."""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from shared.resilience import AttemptTimeout, Bulkhead, BulkheadFull, CallNotPermitted, Registry, State
from shared.resilience.clock import SystemClock
from shared.resilience.events import ConfigApplied, ConfigRefused, Event, RetryScheduled, StateTransition
from shared.resilience.prometheus import ResilienceCollector
from shared.resilience.testing import FakeClock, seeded_random
from shared.resilience.watcher import ConfigWatcher
from tests.unit.resilience.dependencies import Dependency, DownError, Slow

CONFIG = """
budgets:
  payment: {floor: 1}
instances:
  payment:
    idempotent: true
    budget: payment
    circuit_breaker: {sliding_window_size: 10, minimum_number_of_calls: 10, wait_duration_in_open_state: 5s}
    retry: {max_attempts: 2, wait_duration: 50ms, jitter: none}
    bulkhead: {max_concurrent_calls: 1}
    timeout: {duration: 1s}
  stock: {deadline: 1s}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "resilience.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def registry(file: Path, clock: FakeClock) -> Registry:
    return Registry.from_file(file, clock=clock, random=seeded_random())


class Impatient(SystemClock):
    """Waits for nothing; does `meanwhile` in place of it."""

    def __init__(self) -> None:
        self.meanwhile: list[Callable[[], object]] = []

    async def sleep(self, delay: float) -> None:
        if self.meanwhile:
            self.meanwhile.pop()()
        await asyncio.sleep(0)


@pytest.fixture
def impatient() -> Impatient:
    return Impatient()


@pytest.fixture
def watcher(registry: Registry, impatient: Impatient) -> ConfigWatcher:
    return ConfigWatcher(registry, clock=impatient)


_writes = iter(range(1, 10_000))


def write(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    # Some file systems count time in coarser steps than a test takes.
    os.utime(file, ns=(0, next(_writes)))


def remove(file: Path) -> None:
    file.unlink()


def change(file: Path, *replacements: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    write(file, text.encode())


async def fail(registry: Registry, clock: FakeClock, times: int) -> None:
    pipeline = registry.pipeline("payment")
    pipeline.switch("retry", False)
    for _ in range(times):
        with pytest.raises(DownError):
            await clock.run(pipeline.call(Dependency(clock, DownError())))
    pipeline.switch("retry", True)


async def test_an_unchanged_file_changes_nothing(watcher: ConfigWatcher, clock: FakeClock, registry: Registry) -> None:
    assert [await watcher.check() for _ in range(3)] == [None, None, None]
    assert registry.reloads == {"applied": 0, "refused": 0}


async def test_a_comment_is_no_change(watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry) -> None:
    change(file, ("budgets:", "# more to come\nbudgets:"))
    assert await watcher.check() is None
    assert registry.reloads["applied"] == 0


async def test_a_pipeline_handed_out_before_follows_the_file(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry
) -> None:
    pipeline = registry.pipeline("payment")
    guarded = pipeline(Dependency(clock, DownError(), DownError(), DownError(), "fine").__call__)
    change(file, ("max_attempts: 2", "max_attempts: 4"), ("duration: 1s", "duration: 2s"))

    applied = await watcher.check()

    assert isinstance(applied, ConfigApplied)
    assert (applied.changed, applied.added, applied.removed) == (("payment",), (), ())
    assert registry.pipeline("payment") is pipeline
    assert await clock.run(guarded()) == "fine"
    assert pipeline.timeout.duration == 2


async def test_layers_come_and_go(watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry) -> None:
    pipeline = registry.pipeline("payment")
    heard: list[Event] = []
    registry.subscribe(heard.append)
    change(file, ("    bulkhead: {max_concurrent_calls: 1}\n", ""), ("stock: {deadline: 1s}", "stock: {bulkhead: {}}"))

    await watcher.check()

    assert list(pipeline.layers) == ["deadline", "fallback", "retry", "circuit_breaker", "timeout", "faults"]
    stock = registry.pipeline("stock")
    assert list(stock.layers) == ["deadline", "fallback", "bulkhead", "faults"]
    assert isinstance(stock.bulkhead, Bulkhead)
    # What the new layer tells is heard where the pipeline's other events are.
    assert stock.bulkhead.events is stock.events


async def test_a_layer_that_was_switched_off_stays_off(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry
) -> None:
    pipeline = registry.pipeline("payment")
    pipeline.switch("retry", False)
    change(file, ("max_attempts: 2", "max_attempts: 4"))
    await watcher.check()
    assert pipeline.layers["retry"] is False
    down = Dependency(clock, DownError())
    with pytest.raises(DownError):
        await clock.run(pipeline.call(down))
    assert down.calls == 1


async def test_the_breaker_keeps_its_window_and_the_new_threshold_counts_from_then_on(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry
) -> None:
    breaker = registry.breakers["payment"]
    await fail(registry, clock, 4)
    change(file, ("minimum_number_of_calls: 10", "minimum_number_of_calls: 5"))
    await watcher.check()
    assert (breaker.state, breaker.snapshot().failed_calls) == (State.CLOSED, 4)
    await fail(registry, clock, 1)
    assert breaker.state is State.OPEN


async def test_a_window_of_another_size_begins_anew_and_the_totals_go_on(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry
) -> None:
    breaker = registry.breakers["payment"]
    await fail(registry, clock, 4)
    change(file, ("sliding_window_size: 10", "sliding_window_size: 20"))
    await watcher.check()
    assert (breaker.snapshot().buffered_calls, breaker.snapshot().failed.calls) == (0, 4)


async def test_an_open_breaker_stays_open_for_the_wait_that_it_began(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry
) -> None:
    breaker = registry.breakers["payment"]
    breaker.transition_to_open()
    change(file, ("wait_duration_in_open_state: 5s", "wait_duration_in_open_state: 60s"))
    await watcher.check()
    with pytest.raises(CallNotPermitted):
        await registry.pipeline("payment").call(Dependency(clock, 1))
    await clock.advance(5)
    assert await clock.run(registry.pipeline("payment").call(Dependency(clock, 1))) == 1
    breaker.transition_to_open()
    assert breaker.snapshot().retry_after == pytest.approx(60)


async def test_an_automatic_transition_that_is_configured_while_open_takes_place(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry
) -> None:
    breaker = registry.breakers["payment"]
    breaker.transition_to_open()
    change(file, ("minimum_number_of_calls: 10", "minimum_number_of_calls: 10, automatic_transition: true"))
    await watcher.check()
    await clock.advance(5)
    assert breaker.state is State.HALF_OPEN


async def test_slots_that_are_taken_stay_taken_under_a_new_limit(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry
) -> None:
    pipeline = registry.pipeline("payment")
    slow = asyncio.create_task(pipeline.call(Dependency(clock, Slow(0.5))))
    await clock.settle()
    change(file, ("max_concurrent_calls: 1", "max_concurrent_calls: 2"))
    await watcher.check()
    assert pipeline.bulkhead is not None
    assert pipeline.bulkhead.snapshot().available == 1
    change(file, ("max_concurrent_calls: 2", "max_concurrent_calls: 1"))
    await watcher.check()
    with pytest.raises(BulkheadFull):
        await pipeline.call(Dependency(clock, 1))
    await clock.advance(0.5)
    assert await slow == "late"
    assert pipeline.bulkhead.snapshot().available == 1


async def test_an_attempt_under_way_ends_as_it_was_begun(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry
) -> None:
    pipeline = registry.pipeline("payment")
    pipeline.switch("retry", False)
    call = asyncio.create_task(pipeline.call(Dependency(clock, Slow(30))))
    await clock.settle()
    change(file, ("duration: 1s", "duration: 9s"))
    await watcher.check()
    await clock.advance(1)
    with pytest.raises(AttemptTimeout, match="within 1 s"):
        await call


async def test_budgets_follow_and_stay_as_full_as_they_were(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry
) -> None:
    budget = registry.budgets["payment"]
    for _ in range(50):
        budget.on_failure()
    change(file, ("{floor: 1}", "{floor: 7, max_tokens: 10}"))
    await watcher.check()
    assert registry.budgets["payment"] is budget
    assert (budget.snapshot().tokens, budget.snapshot().limit) == (5, 7)


async def test_another_budget_is_drawn_on_from_then_on(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry
) -> None:
    change(file, ("  payment: {floor: 1}", "  payment: {floor: 1}\n  other: {}"), ("budget: payment", "budget: other"))
    await watcher.check()
    await clock.run(registry.pipeline("payment").call(Dependency(clock, DownError(), 1)))
    assert registry.budgets["other"].snapshot().granted == 1
    assert registry.budgets["payment"].snapshot().granted == 0


async def test_a_new_instance_can_be_had_and_is_heard_by_who_subscribed_before(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry
) -> None:
    heard: list[Event] = []
    end = registry.subscribe(heard.append, StateTransition, RetryScheduled)
    change(file, ("  stock:", "  late: {circuit_breaker: {}, retry: {}, idempotent: true}\n  stock:"))
    applied = await watcher.check()
    assert isinstance(applied, ConfigApplied)
    assert applied.added == ("late",)
    await clock.run(registry.pipeline("late").call(Dependency(clock, DownError(), 1)))
    registry.breakers["late"].transition_to_open()
    assert [type(event) for event in heard] == [RetryScheduled, StateTransition]
    end()
    registry.breakers["late"].reset()
    assert len(heard) == 2


async def test_a_removed_instance_goes_on_until_a_restart_with_a_warning(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    stock = registry.pipeline("stock")
    change(file, ("  stock: {deadline: 1s}\n", ""))
    applied = await watcher.check()
    assert isinstance(applied, ConfigApplied)
    assert applied.removed == ("stock",)
    assert registry.pipeline("stock") is stock
    assert await stock.call(Dependency(clock, 1)) == 1
    assert "as they were until a restart: stock" in caplog.text
    # It may come back, and is then the same one with new settings.
    write(file, CONFIG.replace("deadline: 1s", "deadline: 4s").encode())
    await watcher.check()
    assert registry.pipeline("stock") is stock
    assert stock.deadline.seconds == 4


async def test_a_bad_file_is_refused_with_its_line_and_the_old_settings_stay(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []
    registry.subscribe(heard.append, ConfigApplied, ConfigRefused)
    await watcher.check()
    change(file, ("max_attempts: 2", "max_attempts: 0"), ("duration: 1s", "duration: 2s"))

    refused = await watcher.check()

    assert isinstance(refused, ConfigRefused)
    assert "resilience.yaml:9: retry.max_attempts:" in refused.reason
    assert heard == [refused]
    assert registry.pipeline("payment").timeout.duration == 1
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "resilience.yaml:9: retry.max_attempts:" in record.getMessage()
    # It is reported once, not at every look.
    assert await watcher.check() is None
    assert registry.reloads == {"applied": 0, "refused": 1}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"instances: [", None])
async def test_a_file_that_cannot_be_read_is_refused_until_it_is_back(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry, content: bytes | None
) -> None:
    await watcher.check()
    remove(file) if content is None else write(file, content)
    assert isinstance(await watcher.check(), ConfigRefused)
    assert await watcher.check() is None
    write(file, CONFIG.replace("duration: 1s", "duration: 3s").encode())
    assert isinstance(await watcher.check(), ConfigApplied)
    assert registry.pipeline("payment").timeout.duration == 3


async def test_a_file_that_is_still_being_written_is_left_until_it_is_whole(
    watcher: ConfigWatcher, impatient: Impatient, file: Path
) -> None:
    await watcher.check()
    write(file, b"")
    impatient.meanwhile.append(lambda: write(file, CONFIG.replace("deadline: 1s", "deadline: 4s").encode()))
    applied = await watcher.check()
    assert isinstance(applied, ConfigApplied)
    assert (applied.changed, applied.removed) == (("stock",), ())


async def test_reloads_are_counted_for_prometheus(
    watcher: ConfigWatcher, clock: FakeClock, file: Path, registry: Registry
) -> None:
    metrics = CollectorRegistry()
    metrics.register(ResilienceCollector(registry))
    change(file, ("duration: 1s", "duration: 2s"))
    await watcher.check()
    change(file, ("duration: 2s", "duration: soon"))
    await watcher.check()
    change(file, ("duration: soon", "duration: 1s"))
    await watcher.check()
    counts = {
        outcome: metrics.get_sample_value("resilience_config_reloads_total", {"outcome": outcome})
        for outcome in ("applied", "refused")
    }
    assert counts == {"applied": 2, "refused": 1}


async def test_a_running_watcher_notices_on_a_real_clock(file: Path) -> None:
    registry = Registry.from_file(file)
    applied = asyncio.Event()
    registry.subscribe(lambda _: applied.set(), ConfigApplied)
    watching = asyncio.create_task(ConfigWatcher(registry, interval=0.01).run())
    try:
        change(file, ("duration: 1s", "duration: 2s"))
        async with asyncio.timeout(30):
            await applied.wait()
        assert registry.pipeline("payment").timeout.duration == 2
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
