"""What is believed of Prometheus's answers: finite numbers on the grid, of one series, and nothing else."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import pytest

from ml.features.prometheus import Grid, Prometheus, PrometheusUnavailable
from ml.features.signals import NAMES, SIGNALS, Scale

GRID = Grid(end=1000.0, step=10.0, count=5)


async def asked(answer: Callable[[httpx.Request], httpx.Response] | dict[str, Any]) -> np.ndarray:
    handler = answer if callable(answer) else lambda _: httpx.Response(200, json=answer)
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        return await Prometheus(client, "http://prometheus").column("up", GRID)


def series(*values: tuple[float, str]) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": list(values)}]}}


async def test_values_stand_at_their_moments_and_gaps_stay_gaps() -> None:
    found = await asked(series((960, "1"), (980, "2.5"), (1000, "3")))
    np.testing.assert_array_equal(found, [1, np.nan, 2.5, np.nan, 3])


async def test_no_series_is_all_gaps() -> None:
    assert np.isnan(await asked({"status": "success", "data": {"result": []}})).all()


async def test_what_is_not_a_number_is_a_gap() -> None:
    found = await asked(series((960, "NaN"), (970, "+Inf"), (980, "-Inf"), (990, "4")))
    np.testing.assert_array_equal(found, [np.nan, np.nan, np.nan, 4, np.nan])


async def test_moments_off_the_grid_are_left_out() -> None:
    found = await asked(series((100, "9"), (960, "1"), (5000, "9")))
    np.testing.assert_array_equal(found, [1, np.nan, np.nan, np.nan, np.nan])


LIES: list[Any] = [
    {"status": "error", "error": "query timed out"},
    {"status": "success", "data": {"result": [{"values": []}, {"values": []}]}},
    {"status": "success", "data": {"result": [{"values": [[960, "x"]]}]}},
    {"status": "success", "data": {"result": [{"values": [[None, "1"]]}]}},
    {"status": "success", "data": {"result": [{"values": [960]}]}},
    {"status": "success", "data": {"result": [{"values": [["inf", "1"]]}]}},
    {"status": "success", "data": None},
    {"status": "success"},
    ["success"],
    "success",
    None,
]


@pytest.mark.parametrize("lie", LIES)
async def test_an_answer_in_another_shape_is_refused(lie: Any) -> None:
    with pytest.raises(PrometheusUnavailable):
        await asked(lambda _: httpx.Response(200, json=lie))


async def test_silence_and_nonsense_are_refused() -> None:
    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(PrometheusUnavailable, match="refused"):
        await asked(away)
    with pytest.raises(PrometheusUnavailable):
        await asked(lambda _: httpx.Response(502, text="<html>bad gateway"))


async def test_an_answer_without_end_is_cut_off() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 2**20

    with pytest.raises(PrometheusUnavailable, match="bytes"):
        await asked(lambda _: httpx.Response(200, content=endless()))
    assert sent < 10


async def test_lists_in_lists_without_end_are_refused() -> None:
    with pytest.raises(PrometheusUnavailable):
        await asked(lambda _: httpx.Response(200, text="[" * 500_000))


def test_every_query_is_filled_for_every_service() -> None:
    scale = Scale(minute=60, memory_bytes=2**30)
    for signal in SIGNALS:
        text = scale.fill(signal.query, "payment")
        assert "$" not in text
        assert ("[300s]" in text) == ("$window" in signal.query)
    assert len(set(NAMES)) == len(NAMES)
    assert scale.fill('x{service="$service"}[$window]', "order") == 'x{service="order"}[300s]'


def test_a_minute_shorter_than_a_scrape_is_refused() -> None:
    with pytest.raises(ValueError, match="minute"):
        Scale(minute=0.5)
