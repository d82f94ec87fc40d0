"""The local actuator with commands that fail, hang or print nonsense."""

import json
import os
import sys
from pathlib import Path

import pytest

from ml.remediation.actuators.local import LocalActuator
from ml.remediation.actuators.protocol import ActuatorError, Failure
from ml.remediation.limits import Fleet

WELL = [
    {"name": "payment-1", "state": "RUNNING", "ready": True, "uptime": 9.0},
    {"name": "payment-2", "state": "RUNNING", "ready": False, "uptime": 3.0},
    {"name": "payment-3", "state": "STOPPED", "ready": None, "uptime": 0.0},
    {"name": "payment-v2-1", "state": "RUNNING", "ready": True, "uptime": 3.0},
]


def standing_in(directory: Path, code: str, seconds: float = 20) -> LocalActuator:
    """An actuator whose commands are this program; `argv` are the words of the command."""
    file = directory / "command.py"
    file.write_text(f"import sys\nargv = sys.argv[1:]\n{code}\n")
    return LocalActuator(os.environ, (sys.executable, "-S", "-E", str(file)), seconds)


def status(told: object, code: int = 0) -> str:
    return f"if argv[0] == 'status':\n    print({json.dumps(told)!r}); sys.exit({code})"


async def failing(doing: object) -> ActuatorError:
    with pytest.raises(ActuatorError) as caught:
        await doing  # type: ignore[misc]
    return caught.value


async def test_spare_slots_and_other_versions_are_not_counted(tmp_path: Path) -> None:
    actuator = standing_in(tmp_path, status(WELL, 1))
    assert await actuator.fleet("payment") == Fleet(2, 1)
    assert await actuator.fleet("payment-v2") == Fleet(1, 1)
    assert (await failing(actuator.fleet("nobody"))).failure is Failure.MISSING


async def test_the_words_of_the_commands_are_those_of_the_stack(tmp_path: Path) -> None:
    actuator = standing_in(tmp_path, f"{status(WELL)}\nprint(*argv)")
    assert await actuator.scale("payment", before=2, to=3) == "scale payment 3"
    assert await actuator.restart("payment") == "restart payment"
    assert await actuator.undrain("payment", "payment-2") == "undrain payment-2"


async def test_what_a_command_says_when_it_fails_is_told(tmp_path: Path) -> None:
    actuator = standing_in(tmp_path, f"{status(WELL)}\nprint('payment has 3 slots'); sys.exit(1)")
    error = await failing(actuator.scale("payment", before=2, to=4))
    assert (error.failure, str(error)) == (Failure.REFUSED, "scale payment 4: payment has 3 slots")


@pytest.mark.parametrize("printed", ["", "nonsense", "[7]", '{"a": 1}', '[{"name": "payment-1"}]'])
async def test_a_status_that_is_none_changes_nothing(tmp_path: Path, printed: str) -> None:
    actuator = standing_in(
        tmp_path, f"print({printed!r})\nopen({str(tmp_path / 'done')!r}, 'a') if argv[0] == 'scale' else 0"
    )
    error = await failing(actuator.scale("payment", before=2, to=3))
    assert error.failure in (Failure.UNAVAILABLE, Failure.MISSING)
    assert not (tmp_path / "done").exists()


async def test_a_stack_that_is_down_is_unavailable(tmp_path: Path) -> None:
    actuator = standing_in(tmp_path, "sys.exit(3)")
    assert (await failing(actuator.fleet("payment"))).failure is Failure.UNAVAILABLE


async def test_a_command_that_hangs_is_interrupted_and_said_to_be_unknown(tmp_path: Path) -> None:
    note = tmp_path / "interrupted"
    actuator = standing_in(
        tmp_path,
        f"import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    open({str(note)!r}, 'w').close()",
        seconds=3,
    )
    error = await failing(actuator.restart("payment"))
    assert (error.failure, str(error)) == (Failure.TIMEOUT, "restart payment: not done in 3 s")
    assert note.exists()


async def test_the_only_ready_replica_is_not_drained(tmp_path: Path) -> None:
    assert (await failing(standing_in(tmp_path, status(WELL)).drain("payment", 60))).failure is Failure.REFUSED
