"""What happens when in a campaign, drawn at random so that neither the hour nor the order says what comes next.

All durations are minutes of the features' clock (`Scale`). The same seed makes the same schedule.
"""

from dataclasses import dataclass
from enum import Enum
from random import Random

from ml.features.signals import SERVICES


class Onset(Enum):
    """How a fault comes: whether it can be seen coming is what the evaluation asks."""

    GRADUAL = "gradual"
    ABRUPT = "abrupt"
    HARMLESS = "harmless"  # nothing, or something that ends before anybody notices


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault. `services` are those it can strike; `weight` is how often it is drawn, in comparison."""

    name: str
    onset: Onset
    services: tuple[str, ...] = SERVICES
    weight: float = 1.0


KINDS = (
    Kind("memory-leak", Onset.GRADUAL),
    Kind("pool-leak", Onset.GRADUAL),
    Kind("database-slowdown", Onset.GRADUAL),
    Kind("load-ramp", Onset.GRADUAL, ("order",), 1.5),
    Kind("card-network-slowdown", Onset.GRADUAL, ("payment",), 1.5),
    Kind("loop-creep", Onset.GRADUAL),
    Kind("killed", Onset.ABRUPT, weight=0.4),
    Kind("errors", Onset.ABRUPT, weight=0.4),
    Kind("latency-step", Onset.ABRUPT, weight=0.4),
    Kind("database-locked", Onset.ABRUPT, weight=0.4),
    Kind("none", Onset.HARMLESS, weight=1.0),
    Kind("load-spike", Onset.HARMLESS, ("order",), 0.7),
    Kind("ramp-that-ends", Onset.HARMLESS, weight=1.2),
    Kind("restart", Onset.HARMLESS, weight=0.4),
)


_GRADUAL_MINUTES = (90.0, 240.0)
"""From the first sign to the full effect. What breaks half an hour after its first sign is, to a warning that looks ten
to thirty minutes ahead, an abrupt fault."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One drawn episode: `quiet` minutes, then the fault on `service` for `ramp` minutes (growing, if it is gradual).

    reach: how far a gradual fault goes, 1 being certain trouble; `seed` is for whatever is drawn while it runs.
    """

    kind: Kind
    service: str
    quiet: float
    ramp: float
    hold: float
    reach: float
    seed: int


def draw(random: Random) -> Episode:
    """The next episode."""
    kind = random.choices(KINDS, [kind.weight for kind in KINDS])[0]
    gradual = kind.onset is Onset.GRADUAL or kind.name == "ramp-that-ends"
    return Episode(
        kind=kind,
        service=random.choice(kind.services),
        quiet=random.uniform(35, 75),
        ramp=random.uniform(*_GRADUAL_MINUTES) if gradual else random.uniform(4, 12),
        hold=random.uniform(4, 15),
        reach=random.uniform(0.1, 0.35) if kind.name == "ramp-that-ends" else random.uniform(0.9, 1.3),
        seed=random.randrange(2**31),
    )
