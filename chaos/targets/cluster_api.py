"""The API server, as experiments ask it: paths and JSON, each call once and with a time limit."""

import json
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import certifi
import urllib3
import websocket
from kubernetes.client.exceptions import ApiException

from chaos.targets.target import TargetError

MERGE_PATCH = "application/merge-patch+json"
RIGHTS = "infra/kubernetes/components/chaos/drills.yaml"

_FORBIDDEN, _NOT_FOUND, _CONFLICT = (401, 403), 404, 409


class Missing(TargetError):
    """There is no such object, or no such kind of object."""


class Conflict(TargetError):
    """Somebody else has changed the object, or there is one of that name."""


class ClusterApi:
    """One cluster through the official client, which brings credentials and certificates.

    api: an `ApiClient`, as from `infra.kubernetes.connection`
    seconds: how long one call may take to connect, and again to answer
    """

    def __init__(self, api: Any, seconds: float = 5.0) -> None:
        self._api, self._seconds = api, seconds

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """The JSON of an answer.

        Raises:
            Missing: 404.
            Conflict: 409.
            TargetError: any other refusal, and a server that does not answer.
        """
        headers = self._headers(method, path, body) | {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        limit = (self._seconds, self._seconds)
        try:
            answer = self._api.call_api(method, self._url(path, query), headers, body, _request_timeout=limit)
            text = answer.read()
        except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
            raise TargetError(f"the API server {self._host} does not answer: {type(error).__name__}") from error
        if answer.status not in range(200, 300):
            raise _refusal(f"{method} {path}", int(answer.status), text)
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise TargetError(f"{method} {path}: the answer is no JSON") from error
        return found

    def port(self, namespace: str, pod: str, number: int) -> websocket.WebSocket:
        """A stream to a port of a pod, `v4.channel.k8s.io`: each message begins with its channel, 0 data, 1 error.

        The client's own `portforward` waits for the handshake without a limit, and keeps what it cannot deliver.
        """
        path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/portforward"
        url = self._url(path, {"ports": str(number)})
        try:
            opened: websocket.WebSocket = websocket.create_connection(
                "ws" + url.removeprefix("http"),
                timeout=self._seconds,
                header=self._headers("GET", path, None),
                subprotocols=["v4.channel.k8s.io"],
                suppress_origin=True,
                sslopt=_tls(self._api.configuration),
                **_proxy(self._api.configuration),
            )
        except (websocket.WebSocketException, OSError) as error:
            raise TargetError(f"{pod}:{number} cannot be reached: {type(error).__name__}: {error}") from error
        return opened

    @property
    def _host(self) -> str:
        return str(self._api.configuration.host)

    def _url(self, path: str, query: Mapping[str, str] | None) -> str:
        return self._host.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")

    def _headers(self, method: str, path: str, body: object) -> dict[str, str]:
        headers: dict[str, str] = {}
        try:
            self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        except (ApiException, ValueError, OSError) as error:
            raise TargetError(f"no credentials for {self._host}: {error}") from error
        return headers


def _refusal(what: str, status: int, text: bytes) -> TargetError:
    try:
        message = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        message = text.decode(errors="replace")[:300]
    if status in _FORBIDDEN:
        return TargetError(f"{what}: forbidden: {message}. What is needed: {RIGHTS}")
    kind = {_NOT_FOUND: Missing, _CONFLICT: Conflict}.get(status, TargetError)
    return kind(f"{what}: HTTP {status}: {message}")


def _tls(settings: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    if settings.verify_ssl:
        options = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": settings.ssl_ca_cert or certifi.where()}
        if settings.assert_hostname is not None:
            options["check_hostname"] = settings.assert_hostname
    named = {"certfile": settings.cert_file, "keyfile": settings.key_file, "server_hostname": settings.tls_server_name}
    return options | {name: value for name, value in named.items() if value}


def _proxy(settings: Any) -> dict[str, Any]:
    """A proxy that the kubeconfig names; one that wants a password is for calls only, and is said to fail here."""
    if not settings.proxy:
        return {}
    proxy = urllib3.util.parse_url(settings.proxy)
    return {"http_proxy_host": proxy.host, "http_proxy_port": proxy.port, "proxy_type": proxy.scheme or "http"}
