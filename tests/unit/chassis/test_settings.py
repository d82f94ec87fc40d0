"""Settings: what is wrong is named with its reason, and no secret is ever shown."""

from pathlib import Path

import pytest
from pydantic import Field, SecretStr, model_validator

from shared.chassis.settings import ConfigurationError, ServiceSettings

GOOD = {"SERVICE": "shop", "DATABASE_URL": "sqlite+aiosqlite:///data/shop.sqlite", "ADMIN_TOKEN": "a" * 16}
HIDDEN = "hunter22"


class ShopSettings(ServiceSettings):
    edge_key: SecretStr = Field(default=SecretStr("k" * 32), min_length=32)
    sizes: list[int] = Field(default=[1])

    @model_validator(mode="after")
    def _agrees(self) -> "ShopSettings":
        if self.sizes == [13]:
            raise ValueError("sizes do\nnot agree")
        return self


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [*ShopSettings.model_fields, "secrets_dir"]:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def reason() -> str:
    with pytest.raises(ConfigurationError) as caught:
        ShopSettings.load()
    assert HIDDEN not in str(caught.value)
    assert "\n" not in str(caught.value)
    # the traceback of what was caught would quote the input
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


def test_good_settings_load() -> None:
    loaded = ShopSettings.load()
    assert (loaded.service, loaded.port, loaded.drain_seconds) == ("shop", 0, 8.0)
    assert "aaaa" not in repr(loaded)


@pytest.mark.parametrize(
    ("name", "value", "because"),
    [
        ("PORT", "hunter22", "PORT: Input should be a valid integer"),
        ("PORT", "70000", "PORT: Input should be less than or equal to 65535"),
        ("SERVICE_PORT", "-1", "SERVICE_PORT: Input should be greater than or equal to 0"),
        ("INSTANCE", "hunter22\nforged", "INSTANCE: String should match pattern"),
        ("INSTANCE", "Hunter22", "INSTANCE: String should match pattern"),
        ("ADMIN_TOKEN", "hunter22", "ADMIN_TOKEN: "),
        ("EDGE_KEY", "hunter22", "EDGE_KEY: "),
        ("API_VERSION", "v3", "API_VERSION: Input should be 'v1' or 'v2'"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: "),
        ("DRAIN_SECONDS", "nan", "DRAIN_SECONDS: "),
        ("REQUEST_SECONDS", "inf", "REQUEST_SECONDS: "),
        ("MAX_REQUESTS", "0", "MAX_REQUESTS: "),
        ("SIZES", "[hunter22", "sizes"),
        ("SIZES", "[13]", "SETTINGS: Value error, sizes do not agree"),
        ("DATABASE_URL", "mysql://root:hunter22@db/x", "DATABASE_URL: Value error, must start with"),
        ("DATABASE_URL", "postgresql+asyncpg://u:hunter22@db:port/x", "DATABASE_URL: Value error, cannot be read"),
        ("DATABASE_URL", "postgresql+asyncpg://u:hunter22@db", "DATABASE_URL: Value error, must name a database"),
        ("DATABASE_URL", "sqlite+aiosqlite:///", "DATABASE_URL: Value error, must name a database"),
        ("DATABASE_URL", "sqlite+aiosqlite:///:memory:", "DATABASE_URL: Value error, must name a database"),
        ("DATABASE_URL", "", "DATABASE_URL: Value error, must start with"),
    ],
)
def test_a_bad_value_is_refused_by_name(environment: pytest.MonkeyPatch, name: str, value: str, because: str) -> None:
    environment.setenv(name, value)
    assert because in reason()


def test_every_missing_and_wrong_setting_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "ADMIN_TOKEN"):
        environment.delenv(name)
    environment.setenv("PORT", "x")
    text = reason()
    assert text.count("; ") == 2
    assert "DATABASE_URL: Field required" in text
    assert "ADMIN_TOKEN: Field required" in text
    assert "PORT: " in text


@pytest.fixture
def secrets(environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    environment.setenv("SECRETS_DIR", str(tmp_path))
    for name in ("ADMIN_TOKEN", "DATABASE_URL"):
        environment.delenv(name)
    (tmp_path / "admin_token").write_text("t" * 20 + "\n")
    (tmp_path / "database_url").write_text("postgresql+asyncpg://u:p@db/shop\r\n")
    return tmp_path


def test_secrets_come_from_files_without_the_newline_at_their_end(secrets: Path) -> None:
    loaded = ShopSettings.load()
    assert loaded.admin_token.get_secret_value() == "t" * 20
    assert loaded.database_url.get_secret_value() == "postgresql+asyncpg://u:p@db/shop"


def test_the_environment_goes_before_a_file(secrets: Path, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ADMIN_TOKEN", "e" * 20)
    assert ShopSettings.load().admin_token.get_secret_value() == "e" * 20


def test_a_bad_secret_file_is_named_without_its_content(secrets: Path) -> None:
    (secrets / "admin_token").write_text(HIDDEN)
    assert "ADMIN_TOKEN: " in reason()
    (secrets / "admin_token").write_text("")
    assert "ADMIN_TOKEN: " in reason()


def test_a_secret_file_that_is_no_text_is_refused(secrets: Path) -> None:
    (secrets / "admin_token").write_bytes(b"hunter22\xff\xfe" * 4)
    assert "admin_token" in reason()


def test_a_directory_in_the_place_of_a_secret_is_refused(secrets: Path) -> None:
    (secrets / "admin_token").unlink()
    (secrets / "admin_token").mkdir()
    assert "ADMIN_TOKEN" in reason() or "SECRETS_DIR" in reason()


def test_a_secrets_directory_that_is_none_is_refused(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("SECRETS_DIR", str(tmp_path / "missing"))
    assert "SECRETS_DIR: " in reason()
