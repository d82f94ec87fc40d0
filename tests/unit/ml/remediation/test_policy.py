"""The policy file: what is shipped can be used, what is wrong is named with its line."""

from pathlib import Path

import pytest

from ml.remediation.policy import DEFAULT, Kind, Mode, PolicyError, Whom, load


def test_the_shipped_policy_only_says_what_it_would_do() -> None:
    policy = load(DEFAULT)
    assert policy.mode is Mode.SHADOW
    assert policy.control_share > 0
    assert set(policy.blast_radius.most_replicas) == {"order", "payment", "inventory"}


def test_the_signal_that_moved_most_chooses_the_remedies() -> None:
    policy = load(DEFAULT)
    for signals, whom, actions, called_for in (
        (["latency_p99", "pool", "queue_age"], Whom.ITSELF, (Kind.SCALE, Kind.RESTART), "pool"),
        (["queue_age", "memory"], Whom.ITSELF, (Kind.SCALE, Kind.DRAIN), "queue_age"),
        (["callees_pool", "pool"], Whom.CALLEE, (Kind.SCALE, Kind.RESTART), "callees_pool"),
        (["latency_p99"], Whom.ITSELF, (Kind.SCALE,), ""),
        ([], Whom.ITSELF, (Kind.SCALE,), ""),
    ):
        found = policy.remedy(signals)
        assert found is not None
        assert (found[0].treat, found[0].actions, found[1]) == (whom, actions, called_for)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("mode: shadow\nkill_swich: true\n", 2, "kill_swich"),
        ("# a comment\nmode: always\n", 2, "mode"),
        ("mode: auto\nblast_radius:\n  step: 0\n", 3, "blast_radius.step"),
        ("cooldown_minutes: .nan\n", 1, "cooldown_minutes"),
        ("persistence: {k: 9, n: 3}\n", 1, "9 of 3 minutes can never be"),
        ("remedies:\n  - {actions: [scale]}\n  - {actions: [reboot]}\n", 3, "remedies.1.actions.0"),
        ("remedies:\n  - {signals: [pool], treat: callee, actions: [scale]}\n", 2, "callees_pool"),
        ("remedies:\n  - {actions: [scale, scale]}\n", 2, "stands on a ladder once"),
        ("control_share: 1\n", 1, "control_share"),
        ("drain_minutes: 60\n", 1, "drain_minutes"),
        ("mode: [\n", 2, ""),
        ("- auto\n", 1, "not a mapping"),
        ("", 1, "not a mapping"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(PolicyError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert said in str(caught.value)


def test_a_file_that_is_away_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PolicyError):
        load(tmp_path / "binary")
