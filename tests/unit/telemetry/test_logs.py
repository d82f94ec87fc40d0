"""What a log line holds, and what it never holds."""

import asyncio
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from shared.resilience import CircuitBreaker
from shared.telemetry import configure_logs
from shared.telemetry.output import LineOutput
from shared.telemetry.redaction import MASK, redacted

CARD = "4000056655665556"

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Configures the logs on a pipe; calling it reads what has been logged."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    stdout = os.fdopen(writing, "w")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        configure_logs("order", "order-1")

    def read() -> list[dict[str, Any]]:
        text = os.read(reading, 1_000_000).decode()
        assert text.endswith("\n")
        return [json.loads(line) for line in text[:-1].split("\n")]

    yield read
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()
    stdout.close()
    os.close(reading)


def test_a_line_says_when_who_what_and_how_bad(lines: Lines) -> None:
    structlog.get_logger().warning("breaker opened", breaker="payment", rate=51.5)
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "warning",
        "service": "order",
        "instance": "order-1",
        "event": "breaker opened",
        "breaker": "payment",
        "rate": 51.5,
    }


def test_a_line_inside_a_trace_names_it(lines: Lines) -> None:
    # all digits: it must not be taken for a card number
    context = SpanContext(int("40000566556655564000056655665556", 16), 1, is_remote=False, trace_flags=TraceFlags(1))
    with trace.use_span(NonRecordingSpan(context)):
        structlog.get_logger().info("inside")
        logging.getLogger("library").info("also inside")
    structlog.get_logger().info("outside")
    assert [line.get("trace_id") for line in lines()] == ["40000566556655564000056655665556"] * 2 + [None]


def test_fields_bound_to_the_context_are_in_every_line_of_it(lines: Lines) -> None:
    with structlog.contextvars.bound_contextvars(order_id="ord_1"):
        structlog.get_logger().info("ours")
        logging.getLogger("library").warning("a library's")
    assert [line["order_id"] for line in lines()] == ["ord_1", "ord_1"]


def test_records_of_libraries_have_the_same_shape(lines: Lines) -> None:
    logging.getLogger("uvicorn.error").info("Started %s [%d]", "server", 7, extra={"color_message": "\x1b[36mStarted"})
    logging.getLogger("uvicorn.access").info("127.0.0.1 - GET /")
    logging.getLogger("alembic.runtime.migration").info("Context impl SQLiteImpl.")
    (line,) = lines()
    del line["timestamp"]
    assert line == {
        "level": "info",
        "service": "order",
        "instance": "order-1",
        "logger": "uvicorn.error",
        "event": "Started server [7]",
    }


def test_an_exception_is_one_line_with_its_traceback(lines: Lines) -> None:
    for log in (structlog.get_logger(), logging.getLogger("library")):
        try:
            int(f"no such card {CARD}\nsecond line")
        except ValueError:
            log.exception("it failed")
    for line in lines():
        assert "Traceback" in line["exception"]
        assert "second line" in line["exception"]
        assert CARD not in json.dumps(line)


def test_a_warning_of_python_is_a_line_too(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old habit", stacklevel=1)
    assert "old habit" in lines()[0]["event"]


def test_below_the_level_nothing_is_written(lines: Lines) -> None:
    structlog.get_logger().debug("unseen")
    logging.getLogger("library").debug("unseen")
    structlog.get_logger().error("seen")
    assert [line["event"] for line in lines()] == ["seen"]


@pytest.mark.parametrize(
    "text",
    [
        CARD,
        "4000 0566 5566 5556",
        "4000-0566-5566-5556",
        "4000.0566.5566.5556",
        "4000\u00a00566\u00a05566\u00a05556",
        f"card {CARD}, twice {CARD}.",
        f"pan={CARD}",
        f'{{"number":"{CARD}"}}',
        "3782 822463 10005",
        "30569309025904",
        "4222222222222",
        "6304000000000000000",
    ],
)
def test_a_card_number_is_never_written(lines: Lines, text: str) -> None:
    log = structlog.get_logger()
    log.info(text)
    log.info("x", note=text, nested={"deep": [{"er": (text,)}], text: 1}, raw=text.encode(), error=ValueError(text))
    logging.getLogger("library").info("said %s", text)
    written = json.dumps(lines(), ensure_ascii=False)
    assert MASK in written
    for part in (text, "55665556", "5566 5556", "463 10005", "30569309025904", "4222222222222", "6304000000000000000"):
        assert part not in written


def test_a_card_number_as_a_number_is_never_written() -> None:
    assert redacted({"note": int(CARD), "more": [int(CARD)]}) == {"note": MASK, "more": [MASK]}


@pytest.mark.parametrize(
    "value",
    [
        "ord_01hzabcdefghjkmnpqrstvwxyz0",
        "2026-11-23T12:00:00.123456Z",
        "1764000000123 ms",
        "/orders/ord_01hz/items/3",
        "127.0.0.1:50123",
        1764000000123,
        1764000000123456789,
        12.25,
        True,
        None,
    ],
)
def test_ids_times_and_addresses_stay_readable(value: object) -> None:
    assert redacted({"note": value, "in": [value]}) == {"note": value, "in": [value]}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "authorization",
            "Authorization",
            "token",
            "password",
            "card",
            "number",
            "sealed_card",
            "cookie",
            "set-cookie",
        ),
        *("admin_token", "nats_password", "order_to_payment_key", "card_sealing_private_key", "database_url", "key"),
    ],
)
def test_a_secret_field_is_masked_at_any_depth(name: str) -> None:
    written = json.dumps(redacted({name: "hidden-1", "a": {"b": [{name: {"c": "hidden-2"}}]}}))
    assert "hidden" not in written
    assert written.count(MASK) == 2


@pytest.mark.parametrize("name", ["payment_key", "idempotency_key", "keys", "tokens_left", "cardinality", "numbers"])
def test_a_field_that_only_sounds_secret_is_kept(name: str) -> None:
    assert redacted({name: "kept"}) == {name: "kept"}


def test_credentials_inside_a_text_are_masked() -> None:
    text = "GET http://order:hunter22@nats:4222 with Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc-_123 failed"
    clean = redacted({"event": text})["event"]
    assert "hunter22" not in clean
    assert "eyJhbG" not in clean
    assert "nats:4222" in clean


def test_a_newline_in_a_value_a_name_or_the_event_makes_no_second_line(lines: Lines) -> None:
    forged = 'x\n{"level":"info","event":"forged"}\r\n\x85\u2028'
    structlog.get_logger().info(forged, **{forged: forged})
    logging.getLogger(forged).info("%s", forged)
    assert len(lines()) == 2


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


def test_values_that_cannot_be_written_do_not_stop_the_line(lines: Lines) -> None:
    circular: list[Any] = []
    circular.append(circular)
    deep: Any = "bottom"
    for _ in range(10_000):
        deep = [deep]
    log = structlog.get_logger()
    for value in (
        Hostile(), {Hostile(): Hostile()}, circular, deep, "\ud800", {"\ud800": 1}, 10**400, float("nan"), float("inf"),
        b"\xff\xfe", {1, 2}, object(), lambda: None, {(1, 2): 3}, {None: 1}, 2**64, asyncio.CancelledError(),
    ):  # fmt: skip
        log.info("odd", value=value)
        logging.getLogger("library").info("odd", extra={"value": value})
    assert [line["event"] for line in lines()] == ["odd"] * 34


@given(
    st.recursive(
        st.none() | st.text() | st.floats() | st.integers() | st.binary(),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    )
)
def test_whatever_is_logged_becomes_one_valid_line(value: object) -> None:
    from shared.telemetry.logs import _render

    rendered = _render(None, "info", {"event": "x", "value": value})
    assert b"\n" not in rendered
    assert json.loads(rendered)["event"] == "x"


def test_a_reader_that_is_stuck_never_blocks_the_writer_and_hears_what_it_missed() -> None:
    reading, writing = os.pipe()
    output = LineOutput(writing)
    number = 20_000
    for index in range(number):
        output.write(b'{"index":%d,"filler":"%s"}' % (index, b"x" * 60))
    os.set_blocking(reading, False)
    received = b""
    while b"log lines dropped" not in received:
        received += os.read(reading, 65_536)
        output.write(b'{"late":1}')
    events = [json.loads(line) for line in received[: received.rindex(b"\n")].splitlines()]
    dropped = [event["number"] for event in events if event.get("event") == "log lines dropped"]
    kept = [event["index"] for event in events if "index" in event]
    assert kept == list(range(len(kept)))
    assert len(dropped) == 1
    assert len(kept) + dropped[0] == number
    os.close(reading)
    os.close(writing)


def test_a_reader_that_is_gone_costs_nothing() -> None:
    reading, writing = os.pipe()
    output = LineOutput(writing)
    os.close(reading)
    for _ in range(100):
        output.write(b"x" * 1000)
    os.close(writing)
    for _ in range(100):
        output.write(b"x")


def test_lines_longer_than_a_pipe_takes_at_once_arrive_whole() -> None:
    reading, writing = os.pipe()
    output = LineOutput(writing)
    output.write(b"x" * 60_000)
    assert os.read(reading, 100_000) == b"x" * 60_000 + b"\n"
    os.close(reading)
    os.close(writing)


def test_a_line_costs_less_than_thirty_microseconds(lines: Lines) -> None:
    log = structlog.get_logger()
    best = float("inf")
    for _ in range(30):
        started = time.thread_time()
        for _ in range(20):
            log.info("request", method="POST", path="/orders/ord_01hzabcdefghjkmnpqrstvwxyz0", status=201, ms=12.3)
        best = min(best, (time.thread_time() - started) / 20)
        lines()
    assert best < 30e-6


def test_each_transition_of_a_breaker_is_one_line(lines: Lines) -> None:
    breaker = CircuitBreaker("payment")
    breaker.transition_to_open(4)
    breaker.transition_to_half_open()
    opened, tried = lines()
    assert (opened["event"], opened["level"]) == ("circuit_breaker_transition", "warning")
    assert (opened["breaker"], opened["from_state"], opened["to_state"], opened["retry_after_s"]) == (
        "payment",
        "closed",
        "open",
        4.0,
    )
    assert (tried["to_state"], tried["level"]) == ("half_open", "info")
