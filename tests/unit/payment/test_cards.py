"""Card numbers: the check digit, the test numbers, and what a card shows of itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.payment.cards import NETWORK_ERROR, TEST_CARDS, Card, breaks_the_network, decline_code, luhn_valid

numbers = st.text("0123456789", min_size=11, max_size=18)


def with_check_digit(digits: str) -> str:
    return next(digits + check for check in "0123456789" if luhn_valid(digits + check))


@pytest.mark.parametrize("number", ["79927398713", "4242424242424242", "5555555555554444", "378282246310005"])
def test_published_valid_numbers_are_valid(number: str) -> None:
    assert luhn_valid(number)


@given(digits=numbers, place=st.integers(0, 17), other=st.sampled_from("0123456789"))
def test_one_mistyped_digit_is_always_noticed(digits: str, place: int, other: str) -> None:
    number = with_check_digit(digits)
    place %= len(number)
    mistyped = number[:place] + other + number[place + 1 :]

    assert luhn_valid(mistyped) == (mistyped == number)


@given(digits=numbers)
def test_every_prefix_has_exactly_one_check_digit(digits: str) -> None:
    assert sum(luhn_valid(digits + check) for check in "0123456789") == 1


def test_each_test_card_does_what_its_row_says() -> None:
    for row in TEST_CARDS:
        card = Card(row.number)
        assert breaks_the_network(card) == (row.outcome == NETWORK_ERROR)
        assert decline_code(card) == (row.decline_code if row.outcome == "declined" else None)


def test_every_outcome_has_a_test_card() -> None:
    assert {row.decline_code for row in TEST_CARDS} == {
        None,
        "generic_decline",
        "insufficient_funds",
        "lost_card",
        "expired_card",
        "invalid_number",
        "processing_error",
    }


@given(digits=numbers)
def test_any_other_number_is_good_exactly_when_its_check_digit_is_right(digits: str) -> None:
    good = with_check_digit(digits)
    bad = good[:-1] + str((int(good[-1]) + 1) % 10)
    known = {row.number for row in TEST_CARDS}

    if good not in known:
        assert decline_code(Card(good)) is None
    if bad not in known:
        assert decline_code(Card(bad)) == "invalid_number"


def test_a_printed_card_shows_its_last_four_digits_only() -> None:
    card = Card("4242424242424242")

    assert f"{card} {card!r} {[card]}" == "Card(*4242) Card(*4242) [Card(*4242)]"
