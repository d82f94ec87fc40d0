"""How the local Postgres is started."""

from inspect import signature
from pathlib import Path

import pytest

from infra.local.postgres import command
from infra.local.settings import SERVICES, LocalSettings
from infra.local.state import StateDirectory
from shared.chassis.database import Database

SUPERUSERS = 3
"""What Postgres keeps for its superuser, by default."""


@pytest.mark.parametrize("slots", [1, 4, 10])
def test_all_replicas_that_the_stack_can_be_scaled_to_find_all_of_their_connections(tmp_path: Path, slots: int) -> None:
    settings = LocalSettings(
        database="postgres", state_dir=tmp_path, **{f"slots_{service.key}": slots for service in SERVICES}
    )
    words = command(settings, StateDirectory(tmp_path))
    most = int(next(word for word in words if word.startswith("max_connections=")).partition("=")[2])
    sizes = signature(Database).parameters
    a_replica = sizes["writers"].default + sizes["readers"].default
    assert most - SUPERUSERS >= a_replica * slots * len(SERVICES) + 10
