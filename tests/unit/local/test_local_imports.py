"""What the commands of the local stack import: each begins a process, and most are done at once."""

import subprocess
import sys

SLOW = {"sqlalchemy", "alembic", "nats", "aiohttp", "opentelemetry", "fastapi", "uvicorn"}


def test_a_command_of_the_stack_begins_without_what_only_services_need() -> None:
    loaded = "import sys, infra.local.__main__; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, timeout=60, check=True)
    modules = set(told.stdout.split())
    assert "infra.local.fault_commands" in modules
    assert modules & SLOW == set()
