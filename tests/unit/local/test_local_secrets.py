"""Secrets: made once, for their owner's eyes, the same wherever they are shared."""

import base64
import stat
from pathlib import Path

import pytest
from nacl.public import PrivateKey, PublicKey, SealedBox

from infra.local import databases, secrets
from infra.local.settings import LocalSettings
from infra.local.state import StateDirectory


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / ".local")
    made.create()
    secrets.ensure(made)
    return made


def everything(state: StateDirectory) -> dict[str, str]:
    return {
        str(path.relative_to(state.secrets)): path.read_text() for path in state.secrets.rglob("*") if path.is_file()
    }


def test_each_holder_has_the_secrets_of_the_contract_and_no_others(state: StateDirectory) -> None:
    assert set(everything(state)) == {
        "order/admin_token", "order/nats_password", "order/order_to_payment_key", "order/order_to_inventory_key",
        "order/card_sealing_public_key",
        "payment/admin_token", "payment/nats_password", "payment/order_to_payment_key",
        "payment/card_sealing_private_key",
        "inventory/admin_token", "inventory/nats_password", "inventory/order_to_inventory_key",
        "operator/admin_token", "operator/nats_password",
        "order/otlp_token", "payment/otlp_token", "inventory/otlp_token",
        "control_room/admin_token", "control_room/order_otlp_token", "control_room/payment_otlp_token",
        "control_room/inventory_otlp_token", "control_room/alert_token",
    }  # fmt: skip


def test_every_sender_of_traces_has_a_token_of_its_own_that_the_control_room_knows(state: StateDirectory) -> None:
    found = everything(state)
    senders = ("order", "payment", "inventory")
    assert len({found[f"{sender}/otlp_token"] for sender in senders}) == 3
    for sender in senders:
        assert found[f"control_room/{sender}_otlp_token"] == found[f"{sender}/otlp_token"]


def test_directories_are_0700_and_files_0600(state: StateDirectory) -> None:
    for path in (state.secrets, *state.secrets.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_an_edge_has_one_key_at_both_ends_and_the_edges_differ(state: StateDirectory) -> None:
    found = everything(state)
    assert found["order/order_to_payment_key"] == found["payment/order_to_payment_key"]
    assert found["order/order_to_inventory_key"] == found["inventory/order_to_inventory_key"]
    assert found["order/order_to_payment_key"] != found["order/order_to_inventory_key"]


def test_what_order_seals_only_payment_opens(state: StateDirectory) -> None:
    public = PublicKey(base64.b64decode(secrets.read(state, "order", "card_sealing_public_key")))
    private = PrivateKey(base64.b64decode(secrets.read(state, "payment", "card_sealing_private_key")))
    assert SealedBox(private).decrypt(SealedBox(public).encrypt(b"4242")) == b"4242"


def test_a_second_start_changes_no_secret(state: StateDirectory) -> None:
    before = everything(state)
    secrets.ensure(state)
    assert everything(state) == before


def test_a_start_that_was_cut_short_is_completed_with_the_same_values(state: StateDirectory) -> None:
    before = everything(state)
    for lost in ("payment/order_to_payment_key", "order/card_sealing_public_key", "operator/admin_token"):
        (state.secrets / lost).unlink()
    secrets.ensure(state)
    assert everything(state) == before


def test_a_postgres_url_is_a_secret_file_and_goes_away_with_sqlite(state: StateDirectory) -> None:
    databases.write_secrets(LocalSettings(database="postgres"), state)
    path = state.secrets / "order" / "database_url"
    assert path.read_text().startswith("postgresql+asyncpg://order:")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    databases.write_secrets(LocalSettings(), state)
    assert not path.exists()
