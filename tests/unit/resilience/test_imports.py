"""What the library needs, and what only its adapters do."""

import subprocess
import sys

OPTIONAL = ("httpx", "aiobreaker", "opentelemetry", "prometheus_client", "nats", "starlette", "fastapi")


def test_the_library_loads_without_what_its_adapters_adapt() -> None:
    check = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({OPTIONAL!r}))\n"  # importing any of them now fails
        "import shared.resilience\n"
    )
    ended = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
