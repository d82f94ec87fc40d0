"""The gate as its own process in front of a real Prometheus that has just seen an outage, and then goes away."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from infra.local.distribution import PROMETHEUS, ToolMissing, fetch
from tests.fixtures.envoy import free_ports
from tests.fixtures.promtool import promtool
from tests.fixtures.waiting import until

ROOT = Path(__file__).parents[3]
SHARES = {"201": 3, "503": 2}
"""Requests a second by status: two of five fail."""


def history(path: Path) -> None:
    """Two minutes up to now and one more, so that the test may take its time."""
    now = int(time.time())
    lines = ["# TYPE http_requests counter"]
    for status, each in SHARES.items():
        lines += [
            f'http_requests_total{{service="order",handler="/orders",status="{status}"}} '
            f"{(second + 120) * each} {now + second}"
            for second in range(-120, 61, 5)
        ]
    lines.append("# TYPE http_request_duration_seconds histogram")
    for bound in ("0.5", "1.0", "+Inf"):
        lines += [
            f'http_request_duration_seconds_bucket{{service="order",handler="/orders",le="{bound}"}} '
            f"{(second + 120) * 5} {now + second}"
            for second in range(-120, 61, 5)
        ]
    path.write_text("\n".join([*lines, "# EOF", ""]))


@contextmanager
def running(*words: str | Path, log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(words, cwd=ROOT, env={**os.environ, **variables}, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_gate_lets_on_what_may_go_this_far_ends_what_may_not_and_says_no_when_prometheus_is_gone(
    tmp_path: Path,
) -> None:
    try:
        program = fetch(PROMETHEUS, lambda _line: None, seconds=60)
    except ToolMissing as error:
        pytest.skip(str(error))
    history(tmp_path / "history.txt")
    promtool("tsdb", "create-blocks-from", "openmetrics", tmp_path / "history.txt", tmp_path / "data")
    (tmp_path / "prometheus.yml").write_text("{}\n")
    prometheus_port, port = free_ports(2)
    prometheus_url, url = f"http://127.0.0.1:{prometheus_port}", f"http://127.0.0.1:{port}"
    prometheus = running(
        program,
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{prometheus_port}",
        log=tmp_path / "prometheus.log",
    )
    gate = running(
        sys.executable,
        "-m",
        "chaos.gate",
        log=tmp_path / "gate.log",
        GATE_PROMETHEUS_URL=prometheus_url,
        GATE_PORT=str(port),
        GATE_TIMEOUT_SECONDS="5",
    )

    def said(name: str) -> tuple[int, str]:
        answer = httpx.get(f"{url}/slo/{name}", timeout=10, trust_env=False)
        return answer.status_code, answer.json()["answer"]

    with gate:
        with prometheus:
            until(lambda: answers(f"{prometheus_url}/-/ready"))
            until(lambda: answers(f"{url}/health/ready"))
            # three of five are served: as far as this one may go, and too far for that one
            assert said("payment-down") == (200, "ok")
            assert said("control") == (503, "breached")
            assert said("steady") == (503, "unknown"), "there is no histogram of totals in this history"
        assert said("payment-down") == (503, "unknown")


def test_a_gate_without_sense_in_its_settings_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "objectives.yaml").write_text("objectives: []\n")
    done = subprocess.run(
        [sys.executable, "-m", "chaos.gate"],
        cwd=ROOT,
        env={**os.environ, "GATE_OBJECTIVES": str(tmp_path / "objectives.yaml")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 78
    assert "objectives.yaml" in done.stderr
