"""What counts as a replica that Envoy has taken in."""

import pytest

from infra.envoy.admin import Member


@pytest.mark.parametrize(
    ("failed", "taken"),
    [
        ((), True),
        (("failed_outlier_check",), True),  # ejected for what it answered: it is in, and comes back by itself
        (("failed_active_health_check",), False),
        (("failed_active_health_check", "failed_outlier_check"), False),
        (("pending_active_hc",), False),
    ],
)
def test_an_ejected_replica_is_taken_in_and_one_that_is_not_healthy_is_not(
    failed: tuple[str, ...], taken: bool
) -> None:
    assert Member("payment-v1", "127.0.0.1", 8201, failed).passes_its_checks is taken
