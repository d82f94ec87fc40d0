"""Spring's `application.yml`: the tutorial's as it stands, and what is refused."""

from pathlib import Path
from textwrap import indent

import httpx
import pytest

from shared.resilience import CallNotPermitted, ConfigError, Registry, State
from shared.resilience.settings import CircuitBreakerConfig, InstanceConfig, RetryConfig
from shared.resilience.spring import Note, SpringConfig, load_spring, parse_spring
from shared.resilience.spring_values import EXCEPTIONS, BusinessError, camel_case, duration
from shared.resilience.testing import FakeClock, seeded_random
from tests.unit.resilience.dependencies import Dependency

TUTORIAL = Path(__file__).parent / "data" / "application.yml"


ONE = "circuitbreaker:\n  instances:\n    one:\n      "


def read(block: str, **exceptions: str) -> SpringConfig:
    """A file with `block` under resilience4j, which begins on line 2."""
    return parse_spring("resilience4j:\n" + indent(block, "  "), Path("application.yml"), exceptions)


def breaker(*settings: str) -> CircuitBreakerConfig:
    config = only(read("circuitbreaker:\n  instances:\n    one:\n" + "\n".join(f"      {each}" for each in settings)))
    assert config.circuit_breaker is not None
    return config.circuit_breaker


def retry(*settings: str) -> RetryConfig:
    config = only(read("retry:\n  instances:\n    one:\n" + "\n".join(f"      {each}" for each in settings)))
    assert config.retry is not None
    return config.retry


def only(found: SpringConfig) -> InstanceConfig:
    [instance] = found.config.instances.values()
    return instance


def refusal(block: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read(block)
    return str(refused.value)


def test_the_tutorials_block_loads_as_it_stands() -> None:
    instances = load_spring(TUTORIAL).config.instances
    assert sorted(instances) == ["databaseOperations", "inventoryService", "paymentService"]

    payment = instances["paymentService"]
    assert payment.circuit_breaker == CircuitBreakerConfig(
        sliding_window_size=10,
        minimum_number_of_calls=5,
        permitted_calls_in_half_open=3,
        automatic_transition=True,
        wait_duration_in_open_state=10,
        failure_rate_threshold=60,
        record_exceptions=(
            httpx.HTTPStatusError,
            TimeoutError,
            httpx.TimeoutException,
            OSError,
            httpx.TransportError,
        ),
        ignore_exceptions=(BusinessError,),
    )
    assert payment.retry == RetryConfig(
        max_attempts=5,
        wait_duration=2,
        multiplier=2,
        max_wait=16,
        jitter="none",
        retry_exceptions=(httpx.TransportError, TimeoutError, TimeoutError, httpx.TimeoutException),
        ignore_exceptions=(BusinessError,),
    )
    assert payment.timeout is not None
    assert payment.timeout.duration == 10
    assert payment.bulkhead is None

    inventory = instances["inventoryService"].circuit_breaker
    assert inventory is not None
    assert (inventory.failure_rate_threshold, inventory.wait_duration_in_open_state) == (40, 5)

    database = instances["databaseOperations"].bulkhead
    assert database is not None
    assert (database.max_concurrent_calls, database.max_wait_duration) == (25, 0.5)


def test_what_has_no_effect_is_listed_with_its_line() -> None:
    notes = [(note.line, note.text.partition(":")[0].partition(";")[0]) for note in load_spring(TUTORIAL).notes]
    assert (6, "registerHealthIndicator") in notes
    assert (13, "eventConsumerBufferSize") in notes
    assert (64, "cancelRunningFuture") in notes
    assert (70, "management") in notes
    # Nothing is said twice, though two instances inherit it.
    assert len(notes) == len(set(notes))


async def test_the_tutorials_payment_service_runs(clock: FakeClock) -> None:
    registry = Registry(load_spring(TUTORIAL).config, clock=clock, random=seeded_random())
    payment = registry.pipeline("paymentService")
    down, no = Dependency(clock, httpx.ConnectError("down")), Dependency(clock, BusinessError("declined"))

    with pytest.raises(BusinessError):
        await clock.run(payment.call(no, idempotent=True))
    assert no.calls == 1
    with pytest.raises(httpx.ConnectError):
        await clock.run(payment.call(down, idempotent=True))
    assert down.waits() == pytest.approx([2, 4, 8, 16])
    assert registry.breakers["paymentService"].state is State.OPEN
    with pytest.raises(CallNotPermitted):
        await payment.call(down)


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("5s", "5000ms"),
        ("1000ms", "1000ms"),
        ("1000", "1000ms"),
        (250, "250ms"),
        ("2m", "120000ms"),
        ("1h", "3600000ms"),
        ("1d", "86400000ms"),
        ("500us", "0.500ms"),
        ("PT5S", "5000ms"),
        ("PT0.5S", "500.0ms"),
        ("pt1m30s", "90000ms"),
        ("P1DT2H", "93600000ms"),
    ],
)
def test_durations_as_spring_takes_them(text: str | int, ours: str) -> None:
    assert duration(text) == ours


@pytest.mark.parametrize("text", ["soon", "", "P", "PT", "-5s", "PT-5S", "5 weeks", True, None, 1.5])
def test_other_durations_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration(text)


def test_names_may_be_written_with_dashes() -> None:
    assert camel_case("sliding-window-size") == "slidingWindowSize"
    assert breaker("sliding-window-size: 7", "minimum-number-of-calls: 2").sliding_window_size == 7


def test_an_instance_without_a_base_inherits_from_default_as_in_resilience4j() -> None:
    block = "bulkhead:\n  configs: {default: {maxConcurrentCalls: 3}}\n  instances: {one: {maxWaitDuration: 1s}}"
    bulkhead = only(read(block)).bulkhead
    assert bulkhead is not None
    assert (bulkhead.max_concurrent_calls, bulkhead.max_wait_duration) == (3, 1)


def test_a_window_of_seconds() -> None:
    config = breaker("slidingWindowType: TIME_BASED", "slidingWindowSize: 30")
    assert (config.sliding_window_type, config.sliding_window_size) == ("time", 30)


def test_a_minimum_above_a_count_window_is_the_windows_size() -> None:
    assert breaker("slidingWindowSize: 10").minimum_number_of_calls == 10


def test_an_open_wait_that_grows() -> None:
    config = breaker(
        "waitDurationInOpenState: PT5S",
        "enableExponentialBackoff: true",
        "exponentialBackoffMultiplier: 3",
        "exponentialMaxWaitDurationInOpenState: 1m",
    )
    assert (config.open_wait_multiplier, config.max_wait_duration_in_open_state) == (3, 60)


def test_a_retry_has_resilience4js_defaults() -> None:
    config = retry("maxAttempts: 4")
    assert (config.wait_duration, config.multiplier, config.jitter, config.max_wait) == (0.5, 1, "none", 0.5)


def test_randomized_waits_become_jitter_and_a_note() -> None:
    found = read("retry:\n  instances:\n    one:\n      enableRandomizedWait: true\n      randomizedWaitFactor: 0.5")
    config = only(found).retry
    assert config is not None
    assert config.jitter == "equal"
    assert Note(5, "enableRandomizedWait: each wait is spread from half of it to the whole") in found.notes


def test_a_rate_limiter() -> None:
    block = "ratelimiter:\n  instances: {one: {limitForPeriod: 9, limitRefreshPeriod: 2s, timeoutDuration: 0}}"
    limiter = only(read(block)).rate_limiter
    assert limiter is not None
    assert (limiter.limit_for_period, limiter.limit_refresh_period, limiter.timeout_duration) == (9, 2, 0)


def test_an_exception_that_nobody_knows_is_refused_by_name_with_its_line() -> None:
    block = "retry:\n  instances:\n    one:\n      retryExceptions:\n        - com.acme.Oops\n"
    assert refusal(block) == (
        "application.yml:6: no Python exception is known for 'com.acme.Oops'; name it in `exceptions`"
    )
    found = parse_spring(
        "resilience4j:\n" + indent(block, "  "), Path("application.yml"), {"com.acme.Oops": "builtins.LookupError"}
    )
    config = only(found).retry
    assert config is not None
    assert config.retry_exceptions == (LookupError,)


@pytest.mark.parametrize("java", EXCEPTIONS)
def test_every_exception_of_the_table_exists(java: str) -> None:
    assert breaker(f"recordExceptions: [{java}]").record_exceptions


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("thread-pool-bulkhead:\n  instances: {}", "application.yml:2: resilience4j.thread-pool-bulkhead cannot be"),
        (ONE + "slidingWindow: 3", ":5: circuitbreaker: slidingWindow cannot"),
        ("ratelimiter:\n  instances:\n    one:\n      limitForPeriod: 5", ":5: ratelimiter: without a limitRefreshPer"),
        ("circuitbreaker:\n  backends: {}", ":3: unknown key 'backends' in circuitbreaker"),
        (
            ONE + "recordResultPredicate: com.A",
            ":5: circuitbreaker: recordRes",
        ),
        (
            ONE + "enableRandomizedWait: true",
            ":5: circuitbreaker: enableRandom",
        ),
        (
            ONE + "failureRateThreshold: 101",
            ":5: circuit_breaker.failure_rate",
        ),
        (
            ONE + "waitDurationInOpenState: soon",
            ":5: 'soon' is not a duration",
        ),
        (ONE + "slidingWindowType: LAZY", ":5: 'LAZY' is not COUNT_BASED"),
        (ONE + "baseConfig: gone", ":5: one: unknown baseConfig 'gone'"),
        ("retry:\n  instances:\n    one:\n      enableExponentialBackoff: maybe", ":5: enableExponentialBackoff: expe"),
        ("retry:\n  instances:\n    one: 3", ":4: expected a mapping, found 3"),
        ("retry:\n  configs:\n    unused:\n      maxAttempt: 3", ":5: retry: maxAttempt cannot be had here"),
        ("retry:\n  instances:\n    one:\n      retryExceptions: java.io.IOException", ":5: expected a list"),
    ],
)
def test_what_cannot_be_had_is_refused_with_its_line(block: str, reason: str) -> None:
    assert reason in refusal(block)


def test_a_base_that_is_its_own_base_is_refused() -> None:
    block = "retry:\n  configs:\n    a: {baseConfig: b}\n    b: {baseConfig: a}\n  instances:\n    one: {baseConfig: a}"
    assert "application.yml:5: b: its baseConfig leads back to itself" in refusal(block)


def test_a_file_without_the_block_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "application.yml"
    file.write_text("spring: {}\n")
    with pytest.raises(ConfigError, match=r"application\.yml:1: there is no resilience4j block"):
        load_spring(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_spring(tmp_path / "none.yml")
