"""The door in front of a service: how many it lets in, and what it says."""

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from shared.chassis.connections import OWN_DESCRIPTORS, Door


@pytest.mark.parametrize(
    ("limit", "most"), [(100, 50), (599, 300), (1024, 1024 - OWN_DESCRIPTORS), (4096, 4096 - OWN_DESCRIPTORS)]
)
def test_a_door_leaves_the_service_descriptors_of_its_own(limit: int, most: int) -> None:
    assert Door(limit=lambda: limit).most() == most


def test_a_system_without_a_limit_sets_none() -> None:
    assert Door(limit=lambda: -1).most() > 10**9


def test_refusals_are_all_counted_and_said_every_ten_seconds() -> None:
    metrics, now = CollectorRegistry(), [0.0]
    door = Door(metrics, limit=lambda: 100, monotonic=lambda: now[0])
    with capture_logs() as said:
        for now[0] in range(25):
            door.refuse(50)
    assert metrics.get_sample_value("connections_refused_total") == 25
    assert [(line["event"], line["at_most"]) for line in said] == [("connections refused", 50)] * 3
