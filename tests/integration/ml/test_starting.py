"""How the sidecar starts, or says why it does not."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from nacl.signing import SigningKey

from ml import artefact
from ml.predictor.command import main
from tests.integration.ml.made_up import trained, write_model


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_model(tmp_path)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("TRUSTED_KEYS", str(tmp_path / "key.pub"))
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 78
    return capsys.readouterr().err


@pytest.mark.parametrize("name", [artefact.MODEL, artefact.MANIFEST, artefact.SIGNATURE])
def test_a_tampered_model_is_not_started_with(model: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray((model / name).read_bytes())
    content[len(content) // 2] ^= 1
    (model / name).write_bytes(bytes(content))
    told = refused(capsys)
    assert str(model) in told
    assert "not signed" in told or "digest" in told or "non-hexadecimal" in told


def test_without_a_model_the_command_that_makes_one_is_named(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(model / "none"))
    told = refused(capsys)
    assert told.startswith("MODEL_DIR")
    assert "make train" in told


def test_without_a_key_to_trust_no_model_is_good_enough(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRUSTED_KEYS", str(model / "nowhere"))
    assert refused(capsys).startswith("TRUSTED_KEYS")


def test_a_signed_file_that_is_no_model_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = SigningKey.generate()
    artefact.write(model, b"no graph at all", trained()[1], key)
    (model / "key.pub").write_text(bytes(key.verify_key).hex())
    assert "cannot be run" in refused(capsys)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROMETHEUS_URL", "localhost:9090"),
        ("MINUTE_SECONDS", "0.2"),
        ("MINUTE_SECONDS", "nan"),
        ("MEMORY_BYTES", "0"),
        ("PORT", "70000"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_setting_is_named(
    model: Path, name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert refused(capsys).startswith(f"{name}: ")


def test_without_a_prometheus_it_runs_says_unknown_and_ends_with_0(model: Path) -> None:
    port, nobody = free_port(), free_port()
    settings = {"PORT": str(port), "PROMETHEUS_URL": f"http://127.0.0.1:{nobody}", "MINUTE_SECONDS": "2"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ml.predictor"], env=os.environ | settings, stdout=subprocess.PIPE, text=True
    )
    try:
        until_ready(f"http://127.0.0.1:{port}/health/ready", process)
        found = httpx.get(f"http://127.0.0.1:{port}/predict/order").json()
        told = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    finally:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert (found["state"], found["probability"]) == ("unknown", None)
    assert "ConnectError" in found["why"]
    assert 'prediction_unknown{service="order"} 1.0' in told
    assert "\nfailure_probability{" not in told
    assert '"event": "predicted"' in out
    assert '"state": "unknown"' in out


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until_ready(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)  # another process: it has no event to wait for
    raise AssertionError(f"not ready: {process.poll()}")
