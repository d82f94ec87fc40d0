"""No secret in the tree; and a secret would be noticed."""

import base64
import hashlib
from pathlib import Path

import pytest

from infra.supply.locks import ROOT
from infra.supply.secrets import in_text, scan, tracked


def random_text(length: int) -> str:
    """Characters without order, made at run time: none of these may stand in this file."""
    return base64.b64encode(b"".join(hashlib.sha256(bytes([n])).digest() for n in range(8))).decode()[:length]


HEX = hashlib.sha256(b"x").hexdigest()
WORD = random_text(40).replace("/", "a").replace("+", "b")
PLANTED = {
    "a private key": "-----BEGIN " + "OPENSSH PRIVATE KEY-----\n",
    "a key of a cloud": "key = AKIA" + "Q3EGOFPSWL5T2NDA",
    "a token of a forge": "ghp" + f"_{WORD[:36]}",
    "a token of a shop": "sk_" + f"live_{WORD[:24]}",
    "a token of a package index": "pypi-" + f"AgEIcHlwaS5vcmc{WORD}{WORD}",
    "a signed token": "eyJ" + f"{WORD[:20]}.eyJ{WORD[:30]}.{WORD}",
    "a database's address": f"postgresql://order:{WORD[:12]}@db/order",
    "a setting": f"ADMIN_TOKEN={WORD}",
    "a constant": f'NATS_PASSWORD = "{WORD}"',
    "a line of YAML": f"  order_to_payment_key: {HEX}",
    "a line of JSON": f'{{"api_key": "{WORD}"}}',
    "a typed default": f'    admin_token: SecretStr = SecretStr("{WORD}")',
    "a file of the local stack's": random_text(43) + "=\n",
}
HARMLESS = [
    "url = postgresql://order:password@db/order",
    "database_url: postgresql://holdfast:${PASSWORD}@db/order",
    "admin_token: SecretStr = Field(min_length=16)",
    'headers = {"Idempotency-Key": "order-1-payment-attempt"}',
    "idempotency_key = request.headers[IDEMPOTENCY_KEY]",
    "ADMIN_TOKEN = settings.secrets.operator.admin_token",
    f"--hash=sha256:{HEX}",
]


def test_no_file_of_the_tree_holds_what_looks_like_a_secret() -> None:
    paths = tracked(ROOT)
    assert len(paths) > 500
    assert list(map(str, scan(paths))) == []


@pytest.mark.parametrize("kind", PLANTED)
def test_a_secret_that_is_planted_is_found_and_not_told(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.txt"
    path.write_text(f"# line one\n{PLANTED[kind]}\n")
    hits = scan([path], tmp_path)
    assert [(each.path, each.line) for each in hits][:1] == [("settings.txt", 2)]
    assert WORD not in str(hits[0])


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_sounds_secret_is_let_be(text: str) -> None:
    assert list(in_text(text)) == []
