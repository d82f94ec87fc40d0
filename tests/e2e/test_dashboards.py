"""Every dashboard on the real platform: each query of each panel has something to say within a minute."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from infra.local.distribution import ALERTMANAGER, PROMETHEUS, ToolMissing, fetch
from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from tests.e2e.test_prometheus import TUTORIAL
from tests.fixtures.dashboards import Asked, Prometheus, queries

SECONDS = 60
NEEDS_A_FAILURE = {"error_rate"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A platform that has just started, with Prometheus and a few orders a second."""
    try:
        for tool in (PROMETHEUS, ALERTMANAGER):
            fetch(tool, lambda _line: None)
    except ToolMissing as error:
        pytest.skip(str(error))
    directory = tmp_path_factory.mktemp("shown") / ".local"
    with running_stack(directory, traces="on", prometheus="on", scrape_seconds=1) as running:
        urls = ["--url", running.url("order"), "--inventory-url", running.url("inventory")]
        command = [sys.executable, "-m", "infra.load", "--rate", "5", "--seconds", "90", *urls]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as customers:
            try:
                yield running
            finally:
                customers.terminate()


@pytest.fixture(scope="module")
def prometheus(stack: LocalStack) -> Prometheus:
    return Prometheus(stack.url("prometheus"))


def every_query(prometheus: Prometheus) -> set[Asked]:
    tutorial = {
        Asked(f"tutorial: {name}", query.format(service="payment"), instant=False)
        for name, query in TUTORIAL.items()
        if name not in NEEDS_A_FAILURE
    }
    return {*queries(prometheus), *tutorial}


def test_within_a_minute_of_the_start_every_query_of_every_panel_returns_data_and_none_fails(
    prometheus: Prometheus,
) -> None:
    until_then = time.monotonic() + SECONDS
    answered: set[Asked] = set()
    missing: set[Asked] = set()

    def all_answered() -> bool:
        nonlocal missing
        # anew each time: what the variables offer grows while the first scrapes come in
        asked = every_query(prometheus)
        answered.update(each for each in asked - answered if prometheus.has_data(each))
        missing = asked - answered
        return len(asked) > 200 and not missing

    while not all_answered() and time.monotonic() < until_then:
        time.sleep(0.5)
    assert len(answered) > 200
    assert sorted(each.place for each in missing) == []
    for service in ("order", "payment", "inventory", "control_room"):
        assert any(each.place.startswith(f"service?instance=.*&service={service}:") for each in answered)


def test_a_query_without_data_and_one_that_is_wrong_are_noticed(prometheus: Prometheus) -> None:
    assert not prometheus.has_data(Asked("", "no_such_metric", instant=True))
    assert not prometheus.has_data(Asked("", "no_such_metric", instant=False))
    assert not prometheus.has_data(Asked("", "vector(0) / 0", instant=False))
    with pytest.raises(ValueError, match="parse error"):
        prometheus.has_data(Asked("", "sum(", instant=True))
