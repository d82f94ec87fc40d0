"""`resilience.yaml`, whatever stands in it: settings, or soon a refusal with file, line and reason."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.resilience import ConfigError, Registry
from shared.resilience.config import ResilienceConfig, parse
from shared.resilience.settings import InstanceConfig
from tests.fixtures.examples import examples

FILE = Path("services/order/resilience.yaml")
GOOD = (Path(__file__).parents[2] / FILE).read_text(encoding="utf-8")


def fuzz(usual: int) -> settings:
    return settings(
        max_examples=examples(usual),
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


def read(text: str) -> ResilienceConfig | None:
    """The settings, or None after a refusal as it has to be."""
    began = time.thread_time()
    try:
        return parse(text, FILE)
    except ConfigError as refused:
        _check(refused, text)
        return None
    finally:
        assert time.thread_time() - began < 2, "the reader of a file must not be kept busy by it"


def _check(refused: ConfigError, text: str) -> None:
    where = f"{FILE}:{refused.line}: "
    assert refused.file == str(FILE)
    assert 1 <= refused.line <= len(text.splitlines()) + 1
    assert str(refused).startswith(where)
    assert len(str(refused)) > len(where)


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [here] if here else []
    if isinstance(value, dict):
        found += [path for key, inner in value.items() for path in paths(inner, (*here, key))]
    return found


PATHS = paths(yaml.safe_load(GOOD))
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(
        [10**400, -1, 0, 1e308, 5e-324, "1e999s", "-5s", "0ms", "9" * 400 + "s", "٣s", "nan", ".inf", "100%"]
    ),
    st.sampled_from(
        [
            "os.system",
            "builtins.Exception",
            "builtins.",
            "..",
            "httpx.Nothing",
            "\u202e",
            "\x7f",
            "asyncio.CancelledError",
        ]
    ),
    st.text(max_size=20),
    st.lists(st.integers() | st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=8), st.integers() | st.none() | st.text(max_size=5), max_size=3),
)


def test_the_file_that_is_shipped_is_read() -> None:
    assert read(GOOD) is not None


@fuzz(60)
@given(st.lists(st.tuples(st.sampled_from(PATHS), ODD), min_size=1, max_size=3))
def test_a_good_file_with_a_wrong_value_anywhere_is_read_or_refused_with_its_line(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    document = yaml.safe_load(GOOD)
    for path, value in changes:
        place = document
        for step in path[:-1]:
            place = place.get(step) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[path[-1]] = value
    config = read(yaml.safe_dump(document, allow_unicode=True))
    if config is not None:
        assert all(isinstance(each, InstanceConfig) for each in config.instances.values())
        Registry(config)  # what was taken can be used


@fuzz(60)
@given(
    st.integers(0, len(GOOD) - 1),
    st.text(alphabet="{}[]&*!|>%@`:-,#?'\"\t\r\n \\0aé\u2028\x85", min_size=1, max_size=6),
)
def test_a_good_file_with_marks_put_in_anywhere_is_read_or_refused_with_its_line(place: int, marks: str) -> None:
    read(GOOD[:place] + marks + GOOD[place:])


@fuzz(60)
@given(st.text(max_size=200))
@example("\x00")
@example("\ufeffinstances: {}")
@example("\ud800")
@example("%YAML 9.9\n---\n{}")
@example("--- {}\n--- {}")
def test_any_text_is_read_or_refused_with_its_line(text: str) -> None:
    read(text)


NINES = "9" * 5_000
BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n"
    for a, b in zip("abcdefghijklmnopqrstuvwxyz"[:-1], "bcdefghijklmnopqrstuvwxyz", strict=True)
)
WITHIN = "instances:\n  stock:\n    retry: {}\n"
REFUSED = {
    "a bomb of lists": BOMB,
    "a bomb of mappings": BOMB.replace("[", "{k: ").replace(", ", ", l: ").replace("]", "}"),
    "a bomb where instances stand": BOMB + "instances: {stock: *z}\n",
    "an alias of itself": "instances: &a {stock: *a}",
    "deeper than any setting": "instances: " + "{a: " * 5_000 + "}" * 5_000,
    "lists in lists": "instances: " + "[" * 5_000,
    "a name twice": WITHIN + "  stock: {}\n",
    "a setting twice": "instances: {stock: {retry: {max_attempts: 1, max_attempts: 2}}}",
    "a name twice, spelt otherwise": 'instances: {"st\\x6fck": {}, stock: {}}',
    "a merge": "configs: {a: {}}\ninstances: {stock: {<<: {retry: {}}}}",
    "an object": "instances: !!python/object/apply:os.system ['true']",
    "a number that is none": "instances: {stock: {deadline: .nan}}",
    "a number without end": "instances: {stock: {deadline: .inf}}",
    "a number of 5,000 digits": f"instances: {{stock: {{retry: {{max_attempts: {NINES}}}}}}}",
    "a date": "instances: {stock: {deadline: 2024-02-30}}",
    "bytes": "instances: {stock: {deadline: !!binary '****'}}",
    "no mapping": "- instances",
    "a list as a name": "instances: {[a]: {}}",
    "tabs": "instances:\n\tstock: {}",
    "no end": "instances: {stock: '",
    "an alias of nobody": "instances: *nobody",
}


TINY = f"0.{'0' * 300}1ms"


@pytest.mark.parametrize("attempts", [2**62, 10**400], ids=["many", "more"])
@pytest.mark.parametrize(
    ("wait", "multiplier", "fits"),
    [
        ("0ms", "2", True),
        ("1ms", "1", False),
        ("1ms", "1.000000001", False),
        ("1ms", "1.0e+308", False),
        (TINY, "1", True),
        (TINY, "1.5", False),
        (TINY, "1.0e+308", False),
    ],
    ids=["none", "even", "slowly", "at once", "tiny and even", "tiny and growing", "tiny, then long"],
)
def test_waits_are_added_up_soon_however_many_attempts_there_are(
    wait: str, multiplier: str, fits: bool, attempts: int
) -> None:
    retry = f"{{max_attempts: {attempts}, wait_duration: {wait}, multiplier: {multiplier}}}"
    assert (read(f"instances: {{stock: {{deadline: 20s, retry: {retry}}}}}") is not None) == fits


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_fell_a_reader_is_refused(name: str) -> None:
    assert read(REFUSED[name]) is None
