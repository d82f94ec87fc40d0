"""What is remarked while a request is served stands on the request's line, and on one of its own elsewhere."""

import asyncio
import logging
from typing import Any

import structlog

from shared.telemetry import remark
from shared.telemetry.remarks import request_line


def test_remarks_stand_on_the_line_of_the_request_which_is_as_bad_as_the_worst_of_them() -> None:
    with structlog.testing.capture_logs() as lines, request_line() as line:
        remark("payment settled", state="CAPTURED")
        remark("card network unavailable", level=logging.WARNING, reason="gone")
        line.write("request", status=200)
    assert lines == [
        {
            "event": "request",
            "log_level": "warning",
            "status": 200,
            "remarks": [
                {"event": "payment settled", "state": "CAPTURED"},
                {"event": "card network unavailable", "reason": "gone"},
            ],
        }
    ]


def test_without_a_request_a_remark_is_a_line_of_its_own() -> None:
    with structlog.testing.capture_logs() as lines:
        remark("payment settled", state="CAPTURED")
    assert lines == [{"event": "payment settled", "log_level": "info", "state": "CAPTURED"}]


async def test_a_task_that_outlives_its_request_loses_no_remark() -> None:
    gone = asyncio.Event()

    async def later() -> None:
        await gone.wait()
        remark("late")

    with structlog.testing.capture_logs() as lines:
        with request_line() as line:
            task = asyncio.create_task(later())
            line.write("request")
        gone.set()
        await task
    assert [each["event"] for each in lines] == ["request", "late"]


def test_a_request_inside_another_has_its_own_line() -> None:
    with structlog.testing.capture_logs() as lines, request_line() as outer:
        with request_line() as inner:
            remark("inside")
            inner.write("inner")
        remark("outside")
        outer.write("outer")
    said: list[Any] = [(each["event"], [what["event"] for what in each["remarks"]]) for each in lines]
    assert said == [("inner", ["inside"]), ("outer", ["outside"])]


def test_remarks_without_end_are_cut_off_and_counted() -> None:
    with structlog.testing.capture_logs() as lines, request_line() as line:
        for number in range(50):
            remark("again", number=number)
        line.write("request")
    assert [what["number"] for what in lines[0]["remarks"]] == list(range(20))
    assert lines[0]["left_out"] == 30
