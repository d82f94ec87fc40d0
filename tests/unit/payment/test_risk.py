"""The risk score of version 2."""

from hypothesis import given
from hypothesis import strategies as st

from services.payment.risk import risk_score

amounts = st.integers(1, 10**9)
customers = st.text(min_size=1, max_size=64)
currencies = st.sampled_from(["EUR", "USD", "GBP", "JPY"])


@given(customer=customers, amount=amounts, currency=currencies)
def test_every_request_has_a_score_between_0_and_100_and_always_the_same(
    customer: str, amount: int, currency: str
) -> None:
    score = risk_score(customer, amount, currency)

    assert 0 <= score <= 100
    assert risk_score(customer, amount, currency) == score


@given(customer=customers, smaller=amounts, larger=amounts, currency=currencies)
def test_a_larger_amount_is_never_a_smaller_risk(customer: str, smaller: int, larger: int, currency: str) -> None:
    smaller, larger = sorted((smaller, larger))

    assert risk_score(customer, smaller, currency) <= risk_score(customer, larger, currency)


def test_customers_differ() -> None:
    assert len({risk_score(f"customer-{n}", 1299, "EUR") for n in range(50)}) > 10
