"""More orders than fit: a second load beside the experiment's own, which goes on as the customer who is watched."""

import subprocess
import sys

from chaos.session import current


def surge(orders_per_second: float, seconds: float) -> None:
    """Send so many more orders, each once, until the end of the fault. They end with us, too."""
    session = current()
    addresses = session.target.addresses
    command = [
        sys.executable, "-m", "infra.load", "--url", addresses.edge, "--inventory-url", addresses.inventory,
        "--allow-remote", "--rate", f"{orders_per_second:g}", "--seconds", f"{seconds:g}", "--attempts", "1",
        "--seed", str(session.seed + 1), "--in-flight", "512", "--experiment", session.run, "--stop-with-parent",
    ]  # fmt: skip
    with session.fault(f"{orders_per_second:g} more orders a second"):
        log = (session.directory / "surge.log").open("wb")
        process = subprocess.Popen(  # noqa: S603 - our own module
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
        )

    def end() -> None:
        process.terminate()
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()
        log.close()

    session.at_lift(end)
