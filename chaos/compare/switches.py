"""Switches patterns of the order service off and on, and puts everything back as it was.

Switches have no time to live, unlike faults. So what was before is written to a file first, and whoever comes later can
restore it: the end of the comparison, `make chaos-stop`, the next comparison.
"""

import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from chaos.compare.ladder import Ladder, Pattern, Rung
from chaos.targets.target import Replica, Target, TargetError

logger = logging.getLogger("chaostoolkit")

_ADMIN = "/admin/resilience"


class Switches:
    """The switches of all replicas of the order service, for the time of a comparison."""

    def __init__(self, target: Target, ladder: Ladder) -> None:
        self._target = target
        self._ladder = ladder

    def remember(self) -> None:
        """Write down what is on now. What an earlier comparison has left is restored first."""
        restore(self._target)
        before = {replica.name: self._read(replica) for replica in self._replicas()}
        _file(self._target).write_text(json.dumps(before), encoding="utf-8")

    def set(self, rung: Rung) -> None:
        """Have this rung's patterns on and all others off, breakers closed and budgets full.

        Raises:
            TargetError: a replica does not do it, or there is no mesh to switch.
        """
        layers, budgets, mesh = wanted(self._ladder, rung)
        for replica in self._replicas():
            _put(self._target, replica, {"layers": layers, "budgets": budgets})
            for name in self._ladder.breakers:
                self._target.ask(replica, "POST", f"{_ADMIN}/breakers/{name}/reset")
        self._target.mesh_repeats(mesh)

    def _replicas(self) -> list[Replica]:
        found = list(self._target.replicas("order"))
        if not found:
            raise TargetError("No replica of order runs.")
        return found

    def _read(self, replica: Replica) -> dict[str, Any]:
        patterns = self._ladder.patterns.values()
        found: dict[str, Any] = {"layers": {}, "budgets": {}}
        for pipeline in {name for pattern in patterns for name in pattern.layers}:
            found["layers"][pipeline] = self._target.ask(replica, "GET", f"{_ADMIN}/{pipeline}?events=0")["layers"]
        for budget in {name for pattern in patterns for name in pattern.budgets}:
            found["budgets"][budget] = self._target.ask(replica, "GET", f"{_ADMIN}/budgets/{budget}")["enforced"]
        return found


def wanted(ladder: Ladder, rung: Rung) -> tuple[dict[str, dict[str, bool]], dict[str, bool], bool]:
    """The state of every switch that the ladder knows: layers by pipeline, budgets, and retries in the mesh."""
    layers: dict[str, dict[str, bool]] = {}
    budgets: dict[str, bool] = {}
    for name, pattern in ladder.patterns.items():
        _add(pattern, name in rung.active, layers, budgets)
    return layers, budgets, any(ladder.patterns[name].mesh for name in rung.active)


def restore(target: Target) -> str:
    """Put back what a comparison has switched; says what, or nothing when there was nothing to do.

    A replica that is gone has taken its switches with it, and one that has started since begins with everything on.
    """
    file = _file(target)
    if not file.exists():
        return ""
    before: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    failed = []

    def one(replica: Replica) -> None:
        try:
            _put(target, replica, before[replica.name])
        except TargetError as error:
            failed.append(str(error))

    replicas = [replica for replica in target.replicas("order") if replica.name in before]
    with ThreadPoolExecutor(max(len(replicas), 1)) as pool:
        list(pool.map(one, replicas))
    try:
        target.mesh_repeats(False)
    except TargetError as error:
        failed.append(str(error))
    if failed:
        raise TargetError(f"Not everything is switched back: {'; '.join(failed)}. Again with: make chaos-stop")
    file.unlink(missing_ok=True)  # two who restore do the same
    return f"the patterns of {', '.join(replica.name for replica in replicas) or 'nobody'} are as they were"


def _put(target: Target, replica: Replica, state: Mapping[str, Any]) -> None:
    for pipeline, layers in state["layers"].items():
        target.ask(replica, "PATCH", f"{_ADMIN}/{pipeline}", {"layers": layers})
    for budget, enforced in state["budgets"].items():
        target.ask(replica, "PATCH", f"{_ADMIN}/budgets/{budget}", {"enforced": enforced})
        # What a fault has used up is nothing for the next one to find.
        target.ask(replica, "POST", f"{_ADMIN}/budgets/{budget}/refill")


def _add(pattern: Pattern, on: bool, layers: dict[str, dict[str, bool]], budgets: dict[str, bool]) -> None:
    for pipeline, names in pattern.layers.items():
        layers.setdefault(pipeline, {}).update(dict.fromkeys(names, on))
    budgets.update(dict.fromkeys(pattern.budgets, on))


def _file(target: Target) -> Path:
    target.runs.mkdir(parents=True, exist_ok=True)
    return target.runs / "switches.json"
