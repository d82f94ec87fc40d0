"""`resilience.yaml`: what it says, and how it is refused."""

from pathlib import Path
from textwrap import dedent

import httpx
import pytest

from shared.resilience import (
    AdaptiveBulkheadConfig,
    BulkheadConfig,
    CacheConfig,
    ConfigError,
    InstanceConfig,
    RateLimiterConfig,
)
from shared.resilience.config import ResilienceConfig, load, parse
from shared.resilience.settings import parse_duration

FULL = """
budgets:
  payment: {ratio: 0.1, floor: 5, max_tokens: 50, token_ratio: 0.2}
configs:
  default:
    circuit_breaker:
      sliding_window_size: 10
      minimum_number_of_calls: 5
      wait_duration_in_open_state: 5s
      automatic_transition: true
      record_exceptions: [httpx.TransportError, builtins.TimeoutError]
    retry: {max_attempts: 3, wait_duration: 50ms, multiplier: 2, max_wait: 500ms, jitter: full}
    timeout: {duration: 500ms}
    bulkhead: {max_concurrent_calls: 50, max_wait_duration: 100ms, max_waiting: 100}
instances:
  payment.process:
    base_config: default
    budget: payment
    deadline: 2s
    hedge: {delay: 50ms}
    retry: {max_attempts: 2}
  payment.refund:
    base_config: default
    retry: null
"""


def read(text: str) -> ResilienceConfig:
    return parse(dedent(text), Path("resilience.yaml"))


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read(text)
    return str(refused.value)


def instance(body: str) -> str:
    """A file with one instance whose body begins on line 4."""
    return "instances:\n  stock:\n    idempotent: true\n" + "".join(
        f"    {line}\n" for line in dedent(body).strip("\n").splitlines()
    )


def test_durations_have_a_unit() -> None:
    assert [parse_duration(text) for text in ("500ms", "5s", "1.5s", "1m", "2h", " 3 s ")] == [0.5, 5, 1.5, 60, 7200, 3]


def test_an_instance_inherits_setting_by_setting() -> None:
    config = read(FULL)
    process = config.instances["payment.process"]
    assert process.retry is not None
    assert (process.retry.max_attempts, process.retry.wait_duration, process.retry.max_wait) == (2, 0.05, 0.5)
    assert process.circuit_breaker is not None
    assert process.circuit_breaker.wait_duration_in_open_state == 5
    assert process.circuit_breaker.record_exceptions == (httpx.TransportError, TimeoutError)
    assert (process.deadline, process.budget) == (2, "payment")
    assert config.budgets["payment"].floor == 5


def test_null_removes_an_inherited_layer() -> None:
    refund = read(FULL).instances["payment.refund"]
    assert refund.retry is None
    assert refund.timeout is not None


def test_an_adaptive_bulkhead_takes_the_place_of_an_inherited_fixed_one_and_the_other_way_round() -> None:
    text = """\
        configs:
          fixed:
            bulkhead: {max_concurrent_calls: 7}
          adaptive:
            bulkhead: {type: adaptive, max_limit: 50, drop_exceptions: [httpx.TimeoutException]}
        instances:
          a: {base_config: fixed, bulkhead: {type: adaptive}}
          b: {base_config: adaptive, bulkhead: {type: fixed, max_waiting: 3}}
          c: {base_config: adaptive, bulkhead: {window: 2s}}
          d: {base_config: fixed, bulkhead: {type: fixed, max_waiting: 3}}
        """
    instances = read(text).instances
    assert instances["a"].bulkhead == AdaptiveBulkheadConfig(type="adaptive")
    assert instances["b"].bulkhead == BulkheadConfig(max_waiting=3)
    assert instances["c"].bulkhead == AdaptiveBulkheadConfig(
        type="adaptive", max_limit=50, window=2, drop_exceptions=(httpx.TimeoutException,)
    )
    assert instances["d"].bulkhead == BulkheadConfig(max_concurrent_calls=7, max_waiting=3)


def test_rate_limiter_and_cache_are_read() -> None:
    body = """\
        rate_limiter: {limit_for_period: 20, limit_refresh_period: 500ms, timeout_duration: 1s, max_waiting: 5}
        cache: {max_age: 1s, stale_if_error: 1m, serve_fresh: true, single_flight: true, key: builtins.repr}
        """
    stock = read(instance(body)).instances["stock"]
    assert stock.rate_limiter == RateLimiterConfig(
        limit_for_period=20, limit_refresh_period=0.5, timeout_duration=1, max_waiting=5
    )
    assert stock.cache == CacheConfig(max_age=1, stale_if_error=60, serve_fresh=True, single_flight=True, key=repr)


def test_an_empty_file_configures_nothing() -> None:
    assert read("").instances == {}


def test_a_base_is_not_changed_by_who_inherits_from_it() -> None:
    text = FULL + "  other: {base_config: default}\n"
    other = read(text).instances["other"]
    assert other.retry is not None
    assert other.retry.max_attempts == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (instance("retri: {max_attempts: 3}"), "resilience.yaml:4: unknown key 'retri'"),
        (instance("retry:\n  max_attempt: 3"), "resilience.yaml:5: unknown key 'retry.max_attempt'"),
        ("bugets: {}\n", "resilience.yaml:1: unknown key 'bugets'"),
        (instance("timeout: {duration: 500}"), "timeout.duration: 500 is not a duration"),
        (instance("timeout:\n  duration: 5 parsecs"), "resilience.yaml:5: timeout.duration: '5 parsecs' is not"),
        (instance("timeout: {duration: -5s}"), "'-5s' is not a duration"),
        (instance("timeout: {duration: 0s}"), "timeout.duration: must be longer than nothing"),
        (instance("deadline: true"), "deadline: True is not a duration"),
        (instance("base_config: defualt"), "resilience.yaml:4: unknown base_config 'defualt'; known are none"),
        (instance("base_config: [a]"), "unknown base_config ['a']"),
        (instance("budget: payment"), "resilience.yaml:4: unknown budget 'payment'; known are none"),
        (instance("retry: {jitter: some}"), "retry.jitter"),
        (instance("retry: {max_attempts: 0}"), "retry.max_attempts: input should be greater than or equal to 1"),
        (instance("circuit_breaker: {failure_rate_threshold: 101}"), "circuit_breaker.failure_rate_threshold"),
        (instance("circuit_breaker: {failure_rate_threshold: 0}"), "circuit_breaker.failure_rate_threshold"),
        (instance("rate_limiter:\n  limit_for_periode: 5"), "yaml:5: unknown key 'rate_limiter.limit_for_periode'"),
        (
            instance("rate_limiter:\n  limit_refresh_period: 500us"),
            "yaml:5: rate_limiter.limit_refresh_period: '500us'",
        ),
        (instance("rate_limiter:\n  limit_refresh_period: 0.1ms"), "yaml:5: rate_limiter.limit_refresh_period: input"),
        (instance("bulkhead:\n  type: elastic"), "yaml:4: bulkhead: type must be fixed or adaptive"),
        (instance("bulkhead:\n  type: adaptive\n  max_limt: 5"), "yaml:6: unknown key 'bulkhead.max_limt'"),
        (instance("bulkhead:\n  max_limit: 5"), "yaml:5: unknown key 'bulkhead.max_limit'"),
        (instance("bulkhead:\n  max_concurrent_calls: 0"), "yaml:5: bulkhead.max_concurrent_calls: input should be"),
        (
            instance("bulkhead:\n  type: adaptive\n  min_limit: 30"),
            "yaml:4: bulkhead: min_limit, initial_limit and max_limit are not in order: 30, 20, 200",
        ),
        (instance("bulkhead: 5"), "yaml:4: bulkhead: input should be"),
        (instance("cache: {serve_fresh: true}"), "yaml:4: cache: serve_fresh without a max_age never serves anything"),
        (instance("cache: {stale_if_error: 0s}"), "yaml:4: cache: neither max_age nor stale_if_error is set"),
        (instance("cache:\n  key: math.pi"), "yaml:5: cache.key: 'math.pi' cannot be called"),
        (instance("faults: {latency: 1s}"), "yaml:4: unknown key 'faults'"),
        (instance("breaker: payment"), "resilience.yaml:4: names a breaker, but there is no circuit_breaker"),
        (instance("idempotent: false"), "resilience.yaml:4: 'idempotent' is given twice"),
        ("instances: [a, b]\n", "resilience.yaml:1: instances: expected a mapping"),
        ("instances:\n  stock: 5\n", "resilience.yaml:2: instances: expected a mapping, found 5"),
        ("instances:\n  ? [a]\n  : {}\n", "resilience.yaml:2: a key must be a plain name"),
        ("just text\n", "resilience.yaml:1: expected a mapping of budgets, configs, instances"),
        ("instances:\n  a: {b: [}\n", "resilience.yaml:2: is not valid YAML"),
        ("instances:\n  a: !!python/object:os.system {}\n", "resilience.yaml:2:"),
        ("budgets:\n  payment: {ratio: 2}\n", "resilience.yaml:2: ratio: input should be less than or equal to 1"),
        ("configs:\n  default:\n    timeout: {duraton: 5s}\n", "resilience.yaml:3: unknown key 'timeout.duraton'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_line(text: str, message: str) -> None:
    assert message in refusal(text)


def test_a_mistake_in_a_base_is_shown_where_it_was_made() -> None:
    text = """\
        configs:
          slow:
            timeout:
              duration: 5s
        instances:
          stock:
            base_config: slow
            deadline: 2s
        """
    assert refusal(text) == "resilience.yaml:4: an attempt of 5 s is longer than the deadline of 2 s"


@pytest.mark.parametrize("path", ["httpx.TransportErr", "no.such.module.Error", "TimeoutError", "os.path", "httpx.URL"])
def test_an_exception_that_does_not_exist_is_refused_by_name(path: str) -> None:
    body = f"circuit_breaker:\n  record_exceptions:\n    - builtins.OSError\n    - {path}"
    message = refusal(instance(body))
    assert message.startswith("resilience.yaml:7: circuit_breaker.record_exceptions.1: ")
    assert repr(path) in message


def test_a_cancellation_cannot_be_recorded() -> None:
    body = "circuit_breaker: {record_exceptions: [asyncio.CancelledError]}"
    assert "'asyncio.CancelledError' is not an Exception class" in refusal(instance(body))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "circuit_breaker:\n  sliding_window_size: 10\n  minimum_number_of_calls: 11",
            ":6: minimum_number_of_calls 11 is more than the 10 calls that the window holds",
        ),
        (
            "circuit_breaker:\n  sliding_window_size: 10",
            ":5: minimum_number_of_calls 100 is more than the 10 calls that the window holds",
        ),
        ("deadline: 1s\ntimeout: {duration: 2s}", ":5: an attempt of 2 s is longer than the deadline of 1 s"),
        (
            "deadline: 1s\ntimeout: {duration: 900ms}\nretry: {wait_duration: 100ms}",
            ":6: no retry fits: an attempt of 0.9 s and the first wait use up the deadline of 1 s",
        ),
        (
            "deadline: 1s\nretry:\n  max_attempts: 5\n  wait_duration: 100ms",
            ":6: the last of 5 attempts never fits: the waits alone take 1.5 s of the deadline of 1 s",
        ),
        (
            "deadline: 1s\nbulkhead: {max_wait_duration: 2s}",
            ":5: waiting 2 s leaves nothing of the deadline of 1 s",
        ),
        (
            "deadline: 1s\nbulkhead:\n  type: adaptive\n  max_wait_duration: 1s",
            ":7: waiting 1 s leaves nothing of the deadline of 1 s",
        ),
        (
            "deadline: 1s\nrate_limiter:\n  timeout_duration: 5s",
            ":6: waiting 5 s leaves nothing of the deadline of 1 s",
        ),
        (
            "deadline: 2s\ncache:\n  max_age: 1s\n  stale_if_error: 1s",
            ":7: an answer kept for 2 s is gone before a call of up to 2 s has failed",
        ),
        (
            "timeout: {duration: 100ms}\nhedge: {delay: 200ms}",
            ":5: a hedge after 0.2 s never starts: the attempt ends after 0.1 s",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(body: str, message: str) -> None:
    assert message in refusal(instance(body))


def test_a_minimum_above_a_time_window_is_no_contradiction() -> None:
    body = "circuit_breaker: {sliding_window_type: time, sliding_window_size: 10, minimum_number_of_calls: 100}"
    assert read(instance(body)).instances["stock"].circuit_breaker is not None


def test_instances_that_share_a_breaker_must_agree_on_it() -> None:
    text = """\
        configs:
          default:
            circuit_breaker: {sliding_window_size: 100}
        instances:
          charge: {base_config: default, breaker: payment}
          refund:
            base_config: default
            breaker: payment
            circuit_breaker:
              sliding_window_size: 200
        """
    assert refusal(text) == "resilience.yaml:9: shares breaker 'payment' with 'charge' but gives it other settings"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml:1: cannot be read"):
        load(tmp_path / "missing.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.yaml:1: cannot be read"):
        load(binary)


def test_yaml_that_contains_itself_is_refused() -> None:
    assert "nested too deeply" in refusal("instances: &all\n  stock: *all\n")


def test_predicates_are_found_by_their_path() -> None:
    body = "circuit_breaker: {record_result: operator.not_}\nretry: {retry_on_result: operator.not_}"
    stock = read(instance(body)).instances["stock"]
    assert stock.retry is not None
    assert stock.retry.retry_on_result is not None
    assert stock.retry.retry_on_result(0)
    assert "cannot be called" in refusal(instance("retry: {retry_on_result: math.pi}"))


def test_in_code_a_duration_is_seconds_and_may_be_written_with_its_unit() -> None:
    assert InstanceConfig(deadline=2).deadline == 2
    assert InstanceConfig.model_validate({"deadline": "250ms"}).deadline == 0.25
