"""A payment service with a bad setting does not start, and says which one it is."""

import base64
from pathlib import Path

import pytest

from services.payment.settings import PaymentSettings
from shared.chassis.settings import ConfigurationError

KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    secrets = {
        "admin_token": "an admin token for tests",
        "order_to_payment_key": "k" * 43,
        "card_sealing_private_key": KEY + "\n",
    }
    for name, value in secrets.items():
        (tmp_path / name).write_text(value)
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "sqlite+aiosqlite:///payment.sqlite")
    return monkeypatch


def test_the_environment_and_the_secret_files_are_enough(environment: pytest.MonkeyPatch) -> None:
    settings = PaymentSettings.load()

    assert settings.service == "payment"
    assert settings.order_to_payment_key.get_secret_value() == "k" * 43
    assert settings.behaviour().lost_requests == settings.behaviour().lost_answers == 0
    assert 0 < settings.behaviour().latency_median_ms < 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CARD_SEALING_PRIVATE_KEY", "short"),
        ("CARD_SEALING_PRIVATE_KEY", KEY[:-4]),
        ("CARD_NETWORK_LOST_ANSWERS", "1.5"),
        ("CARD_NETWORK_LIMIT_SECONDS", "0"),
        ("CARD_NETWORK_SEED", "often"),
        ("ORDER_TO_PAYMENT_KEY", "short"),
        ("WORKER_CONCURRENCY", "0"),
        ("API_VERSION", "v3"),
    ],
)
def test_a_bad_value_is_named_and_a_secret_one_not_shown(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)

    with pytest.raises(ConfigurationError, match=name) as caught:
        PaymentSettings.load()
    if "KEY" in name:
        assert value not in str(caught.value)


def test_settings_that_contradict_each_other_are_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CARD_NETWORK_LATENCY_MEDIAN_MS", "50")

    with pytest.raises(ConfigurationError, match="latency_p99_ms must not be less"):
        PaymentSettings.load()


def test_printed_settings_show_no_secret(environment: pytest.MonkeyPatch) -> None:
    printed = repr(PaymentSettings.load())

    assert KEY not in printed
    assert "k" * 43 not in printed
