"""A client of the cluster that this runs in, or of the one that the kubeconfig names."""

from typing import Any

from kubernetes import client, config


class NoCluster(Exception):
    """Neither in a cluster, nor is there a kubeconfig that can be used; the message says which way failed."""


def connect() -> Any:
    """An `ApiClient` of the cluster that this runs in, or else of the kubeconfig's (`KUBECONFIG`).

    It repeats nothing by itself: a patch that is sent twice is two. A call without a time limit of its own has none.

    Raises:
        NoCluster: neither is there.
    """
    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        try:
            config.load_kube_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError) as error:
            raise NoCluster(f"no cluster and no kubeconfig: {error}") from error
    settings.retries = False
    return client.ApiClient(settings)
