"""A clock that stands still, shared by the fixtures and by the test that asks for it."""

import pytest

from shared.resilience.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
