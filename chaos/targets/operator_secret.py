"""The Secret `operator`: what a person needs who runs drills. Read when needed, kept nowhere."""

import base64
from collections.abc import Callable

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from chaos.targets.cluster_api import ClusterApi
from chaos.targets.target import TargetError

_SERVICES = ("order", "payment", "inventory")
_PORT = 5432

Near = Callable[[str, int], tuple[str, int]]


class OperatorSecret:
    """The one Secret that experiments read. No pod mounts it, and no other holds less than a service's own keys."""

    def __init__(self, api: ClusterApi, namespace: str) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/secrets/operator"

    def value(self, key: str) -> str:
        """One of its values. Raises `TargetError` without the value of any other."""
        return self._of(self._read(), key)

    def database_urls(self, near: Near) -> dict[str, str]:
        """The auditor's address of each service's database, with host and port as `near` has them."""
        held = self._read()
        return {
            service: self._address(self._of(held, f"{service}_database_url"), service, near) for service in _SERVICES
        }

    def _address(self, url: str, service: str, near: Near) -> str:
        try:
            address = make_url(url)
        except ArgumentError:
            raise TargetError(f"the Secret operator: {service}_database_url is no address") from None
        if address.host:
            host, port = near(address.host, address.port or _PORT)
            address = address.set(host=host, port=port)
        return address.render_as_string(hide_password=False)

    def _read(self) -> dict[str, str]:
        return dict(self._api.call("GET", self._path).get("data") or {})

    def _of(self, held: dict[str, str], key: str) -> str:
        try:
            return base64.b64decode(held[key], validate=True).decode()
        except KeyError:
            raise TargetError(
                f"the Secret operator has no {key} (python -m infra.kubernetes.secrets makes it)"
            ) from None
        except ValueError:
            raise TargetError(f"the Secret operator: {key} cannot be read") from None
