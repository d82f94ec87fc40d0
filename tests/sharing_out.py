"""How `make test` shares the tests out among the workers of pytest-xdist.

A file is one piece of work, so what it starts is started once; the files that use the common platform are one piece
together. Long pieces come first, and what is short fills the gaps at the end. Pieces that load a platform as far as it
goes, or that measure its times, are never at work at the same time: each has only light tests beside it.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

_MOST_WORKERS = 4
"""One more than there are cores, as tests wait a lot; but each starts databases, brokers and platforms of its own."""

_COMMON_PLATFORM = "the common platform"
_ON_THE_COMMON_PLATFORM = ("test_hostile_input", "test_money_and_stock", "test_order_api", "test_readme")
_HEAVY = ("test_killing", "test_payment_down", "test_mesh", "test_traces")
_LONG = (
    "test_workshop",
    "test_chaos",
    "test_remediation",
    "test_prometheus",
    "test_dashboards",
    "test_both_meshes",
    "test_on_postgres",
    "test_local_stack_trouble",
    "test_machine",
    "test_fuzzing",
)


def _file(name: str) -> str:
    if not Path(__file__).with_name("e2e").joinpath(f"{name}.py").exists():
        raise FileNotFoundError(f"tests/e2e/{name}.py, which tests/sharing_out.py tells where to run")
    return f"tests/e2e/{name}.py"


_BROWSER = "tests/browser/test_control_room.py"

_PIECES = {_file(name): _COMMON_PLATFORM for name in _ON_THE_COMMON_PLATFORM}
_ONE_AT_A_TIME = frozenset([_COMMON_PLATFORM, *map(_file, _HEAVY)])
_AFTER_HEAVY = map(_file, [*_LONG, *_ON_THE_COMMON_PLATFORM])
_ORDER = {file: place for place, file in enumerate([*map(_file, _HEAVY), _BROWSER, *_AFTER_HEAVY])}


class PieceScheduling(LoadFileScheduling):
    """A worker gets one piece at a time, in the order of the collection."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return _PIECES.get(file, file)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if self._heavy_elsewhere(node):
            light = next((piece for piece in self.workqueue if piece not in _ONE_AT_A_TIME), None)
            if light:
                self.workqueue.move_to_end(light, last=False)
        super()._assign_work_unit(node)

    def _heavy_elsewhere(self, node: WorkerController) -> bool:
        others = (pieces for other, pieces in self.assigned_work.items() if other is not node)
        return any(
            piece in _ONE_AT_A_TIME and not all(tests.values()) for pieces in others for piece, tests in pieces.items()
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _ORDER.get(item.nodeid.split("::")[0], len(_ORDER)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return min(len(os.sched_getaffinity(0)) + 1, _MOST_WORKERS)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> PieceScheduling:
    config.option.loadscopereorder = False
    return PieceScheduling(config, log)
