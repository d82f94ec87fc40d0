"""Which policies the order service reads: those of the tree, or for a while another file (docs/workshop).

Replicas are told a link in the state directory. They look at what it leads to every two seconds, so another file is in
force without a restart, and no file of the tree is touched.
"""

from pathlib import Path

from infra.local.settings import ROOT
from infra.local.state import StateDirectory

TREES = ROOT / "services" / "order" / "resilience.yaml"


def link(state: StateDirectory) -> Path:
    """What replicas of the order service are told to read."""
    return state.run / "resilience.yaml"


def follow(state: StateDirectory, file: Path = TREES) -> None:
    """Have the link lead to that file; without one to the tree's, as it does whenever a stack starts."""
    # Renamed into place: a replica that starts meanwhile finds the one or the other.
    temporary = link(state).with_suffix(".part")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(file)
    temporary.replace(link(state))
