"""Makes the Secrets of an installation: `python -m infra.kubernetes.secrets | kubectl apply -f -`.

Fresh ones each time, so it is for the first installation; to stdout only, so that no file of them is left behind. Where
a secret store feeds the cluster it has to write the same names and keys.
"""

import json
import secrets as chance
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml
from sqlalchemy.engine import make_url

from infra.local import nats
from infra.local import secrets as local
from infra.local.settings import CONTROL_ROOM, MODULES
from infra.local.state import StateDirectory

NAMESPACE = "holdfast"
BROKERS = tuple(f"nats-{number}.nats-peers" for number in range(3))
DATABASE_URL = "postgresql+asyncpg://{service}:{password}@postgres:5432/{service}"

# No otlp_token: the collector knows its senders by the mesh's certificates. Inventory has no business with the broker.
_HELD = {
    "order": (
        "admin_token",
        "nats_password",
        "order_to_payment_key",
        "order_to_inventory_key",
        "card_sealing_public_key",
    ),
    "payment": ("admin_token", "nats_password", "order_to_payment_key", "card_sealing_private_key"),
    "inventory": ("admin_token", "order_to_inventory_key"),
}
_PAGE = ("admin_token", "alert_token")
_BROKER_USERS = ("order", "payment", local.OPERATOR)


def make(database_url: str = DATABASE_URL) -> dict[str, dict[str, str]]:
    """All Secrets, name -> key -> value. `{service}` and `{password}` in the address are filled in for each service."""
    roles = (*MODULES, "auditor", "postgres")
    passwords = {f"{role}_password": chance.token_urlsafe(32) for role in roles}
    with tempfile.TemporaryDirectory() as directory:
        state = StateDirectory(Path(directory) / "state")
        state.create()
        local.ensure(state)
        made = {holder: {key: local.read(state, holder, key) for key in keys} for holder, keys in _HELD.items()}
        made["control-room"] = {key: local.read(state, CONTROL_ROOM, key) for key in _PAGE}
        broker = {user: local.read(state, user, "nats_password") for user in _BROKER_USERS}
    for module in MODULES:
        made[module]["database_url"] = database_url.format(service=module, password=passwords[f"{module}_password"])
    made["remediation"] = {"admin_token": made["order"]["admin_token"]}
    made["nats-auth"] = {
        # JSON is valid in the server's own format, so quoting is JSON's
        "users.conf": f"authorization: {json.dumps(nats.authorization(broker), indent=2)}\n",
        "cluster.conf": _cluster(chance.token_urlsafe(32)),
    }
    made["postgres"] = passwords
    made["operator"] = {
        "admin_token": made["order"]["admin_token"],
        "nats_password": broker[local.OPERATOR],
        # in a role that reads and no more
        **{f"{each}_database_url": _auditors(made[each]["database_url"], passwords) for each in MODULES},
    }
    return made


def _auditors(url: str, passwords: Mapping[str, str]) -> str:
    address = make_url(url).set(username="auditor", password=passwords["auditor_password"])
    return address.render_as_string(hide_password=False)


def _cluster(password: str) -> str:
    # a server shows its peers the password that stands in their address, not the one that it asks for itself
    routes = [f"nats://nats:{password}@{server}:6222" for server in BROKERS]
    login = {"user": "nats", "password": password, "timeout": 5}
    return f"authorization: {json.dumps(login, indent=2)}\nroutes: {json.dumps(routes, indent=2)}\n"


def manifests(made: Mapping[str, Mapping[str, str]]) -> str:
    """The Secrets as YAML."""
    documents = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": {"app.kubernetes.io/part-of": "holdfast"},
            },
            "stringData": dict(values),
        }
        for name, values in made.items()
    ]
    return yaml.safe_dump_all(documents, sort_keys=False)


def main(arguments: list[str]) -> int:
    """Write the Secrets to stdout; the one argument is the databases' address."""
    if len(arguments) > 1 or (arguments and "{service}" not in arguments[0]):
        sys.stderr.write(
            "usage: python -m infra.kubernetes.secrets ['postgresql+asyncpg://...{service}...{password}...']\n"
        )
        return 2
    sys.stdout.write(manifests(make(*arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
