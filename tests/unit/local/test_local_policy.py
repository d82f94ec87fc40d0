"""The link to the policies of the order service: the tree's, or a lab's."""

from pathlib import Path

from infra.local import policy
from infra.local.programs import programs
from infra.local.settings import LocalSettings
from infra.local.state import StateDirectory


def test_the_order_service_reads_a_link_that_can_be_led_elsewhere_and_back(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / ".local")
    state.create()
    policy.follow(state)
    link = policy.link(state)
    assert link.resolve() == policy.TREES
    other = tmp_path / "other.yaml"
    other.write_text("instances: {}\n")
    policy.follow(state, other)
    assert link.read_text() == "instances: {}\n"
    policy.follow(state)
    assert link.resolve() == policy.TREES
    assert [each.name for each in state.run.iterdir() if "resilience" in each.name] == ["resilience.yaml"]


def test_only_replicas_of_the_order_service_are_told_of_it(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / ".local")
    told = {each.name for each in programs(LocalSettings(), state) if "RESILIENCE_FILE" in each.environment}
    assert told == {"order-1", "order-2", "order-3", "order-4"}
