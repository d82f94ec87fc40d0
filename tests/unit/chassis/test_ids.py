"""Identifiers: unique, and in the order of their making."""

import re
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from shared.chassis.ids import Sequence, encoded, new_id


def test_an_id_is_its_prefix_and_26_digits() -> None:
    assert re.fullmatch(r"ord_[0-9a-hjkmnp-tv-z]{26}", new_id("ord"))


def test_ids_made_in_a_row_are_unique_and_sorted() -> None:
    made = [new_id("ord") for _ in range(20_000)]
    assert made == sorted(set(made))


def test_ids_made_by_many_threads_are_unique() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = [one for many in pool.map(lambda _: [new_id("x") for _ in range(500)], range(16)) for one in many]
    assert len(set(made)) == 8_000


@given(st.lists(st.integers(0, 2**47), min_size=1, max_size=30), st.sampled_from([0, 1, 2**64 - 1, 2**80 - 1]))
def test_numbers_grow_whatever_the_clock_and_the_dice_do(times: list[int], dice: int) -> None:
    clock = iter(times)
    sequence = Sequence(time_ns=lambda: next(clock) * 1_000_000, randbits=lambda bits: dice & (2**bits - 1))
    numbers = [sequence.next() for _ in times]
    assert numbers == sorted(set(numbers))
    assert [encoded(number) for number in numbers] == sorted(encoded(number) for number in numbers)
    assert numbers[0] >> 80 == times[0]
