"""The documented list of log fields is the list of fields that the services log."""

from tests.unit.telemetry.log_fields import documented, logged


def test_every_field_that_is_logged_is_documented_and_every_documented_one_is_logged() -> None:
    assert logged() == documented()
