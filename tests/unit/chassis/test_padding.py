"""Lists for `IN (...)` in few lengths."""

from hypothesis import given
from hypothesis import strategies as st

from shared.chassis.padding import padded


@given(st.lists(st.integers(), max_size=600))
def test_a_padded_list_holds_the_same_values_and_is_less_than_twice_as_long(values: list[int]) -> None:
    result = padded(values)
    assert result[: len(values)] == values
    assert set(result) == set(values)
    assert len(result) < 2 * max(len(values), 1)


def test_all_lists_up_to_512_values_have_one_of_eleven_lengths() -> None:
    assert len({len(padded(range(length))) for length in range(513)}) == 11
