"""The Kubernetes actuator through the official client: what it asks for, by which rights, how each refusal ends."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ml.remediation.actuators.kubernetes import KubernetesActuator, Times, connect
from ml.remediation.actuators.protocol import ActuatorError, Failure
from ml.remediation.limits import Fleet
from tests.unit.ml.remediation.api_server import Cluster, serving, shipped_rules
from tests.unit.ml.remediation.platform import Platform

SCALE = "/apis/apps/v1/namespaces/holdfast/deployments/payment-v1/scale"
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: test
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
clusters: [{{name: test, cluster: {{server: "{url}"}}}}]
users: [{{name: test, user: {{token: "a-token"}}}}]
"""


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def actuator(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesActuator]:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with serving(cluster) as url:
        (tmp_path / "config").write_text(KUBECONFIG.format(url=url))
        # read when the package is imported
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
        yield KubernetesActuator(connect(), times=Times(call=0.5, restart=5.0, look=0.02))


async def failing(doing: Any) -> ActuatorError:
    with pytest.raises(ActuatorError) as caught:
        await doing
    return caught.value


async def test_scaling_patches_spec_replicas_and_nothing_else(actuator: KubernetesActuator, cluster: Cluster) -> None:
    assert await actuator.fleet("payment") == Fleet(2, 2)
    await actuator.scale("payment", before=2, to=3)
    version = {"metadata": {"resourceVersion": "100"}}  # only what was read may be changed
    body = version | {"spec": {"replicas": 3}}
    assert cluster.writes() == [("PATCH", SCALE, body, "application/merge-patch+json")]
    assert cluster.replicas["payment-v1"] == 3


async def test_the_rights_that_are_shipped_are_those_that_are_used(
    actuator: KubernetesActuator, cluster: Cluster
) -> None:
    await actuator.fleet("payment")
    await actuator.scale("payment", before=2, to=2)
    await actuator.restart("payment")
    shipped = {(each, verb) for rule in cluster.rules for each in rule["resources"] for verb in rule["verbs"]}
    assert cluster.used == shipped


async def test_another_number_than_expected_is_a_conflict_and_no_patch(
    actuator: KubernetesActuator, cluster: Cluster
) -> None:
    assert (await failing(actuator.scale("payment", before=5, to=6))).failure is Failure.CONFLICT
    assert cluster.writes() == []


async def test_a_conflict_about_something_else_is_tried_again(actuator: KubernetesActuator, cluster: Cluster) -> None:
    def once(cluster: Cluster) -> None:
        cluster.version += 1
        cluster.interfere = None

    cluster.interfere = once
    await actuator.scale("payment", before=2, to=3)
    assert len(cluster.writes()) == 2
    assert cluster.replicas["payment-v1"] == 3


async def test_somebody_who_scales_at_the_same_time_wins(actuator: KubernetesActuator, cluster: Cluster) -> None:
    def autoscaler(cluster: Cluster) -> None:
        cluster.version += 1
        cluster.replicas["payment-v1"] = 7

    cluster.interfere = autoscaler
    assert (await failing(actuator.scale("payment", before=2, to=3))).failure is Failure.CONFLICT
    assert cluster.replicas["payment-v1"] == 7


@pytest.mark.parametrize("lacking", ["deployments/scale", "deployments"])
async def test_without_the_right_nothing_is_changed(
    actuator: KubernetesActuator, cluster: Cluster, lacking: str
) -> None:
    cluster.rules = [rule for rule in shipped_rules() if rule["resources"] != [lacking]]
    doing = actuator.scale("payment", before=2, to=3) if "/" in lacking else actuator.restart("payment")
    error = await failing(doing)
    assert error.failure is Failure.FORBIDDEN
    assert "cannot get payment-v1" in str(error)
    assert cluster.writes() == []


async def test_a_deployment_that_the_role_does_not_name_is_out_of_reach(
    actuator: KubernetesActuator, cluster: Cluster
) -> None:
    cluster.replicas["postgres"] = 1
    assert (await failing(actuator.scale("postgres", before=1, to=0))).failure is Failure.FORBIDDEN
    assert cluster.replicas["postgres"] == 1


async def test_a_missing_deployment_is_said_to_be_missing(actuator: KubernetesActuator, cluster: Cluster) -> None:
    del cluster.replicas["inventory"]
    assert (await failing(actuator.fleet("inventory"))).failure is Failure.MISSING
    assert (await failing(actuator.scale("inventory", before=3, to=4))).failure is Failure.MISSING
    assert (await failing(actuator.restart("inventory"))).failure is Failure.MISSING


async def test_a_patch_without_an_answer_is_read_back_not_done(actuator: KubernetesActuator, cluster: Cluster) -> None:
    cluster.hang = threading.Event()
    error = await failing(actuator.scale("payment", before=2, to=3))
    assert error.failure is Failure.TIMEOUT
    assert "it was not done: 2 replicas" in str(error)
    assert len(cluster.writes()) == 1


async def test_a_patch_whose_answer_is_lost_is_read_back_done(actuator: KubernetesActuator, cluster: Cluster) -> None:
    cluster.hang, cluster.apply_before_hanging = threading.Event(), True
    assert "came too late" in await actuator.scale("payment", before=2, to=3)
    assert len(cluster.writes()) == 1


async def test_a_server_that_hangs_is_given_up_on(actuator: KubernetesActuator, cluster: Cluster) -> None:
    cluster.hang, cluster.hang_on = threading.Event(), "GET"
    assert (await failing(actuator.fleet("payment"))).failure is Failure.TIMEOUT


async def test_a_restart_evicts_each_pod_once_one_after_the_other(
    actuator: KubernetesActuator, cluster: Cluster
) -> None:
    said = await actuator.restart("inventory")
    assert cluster.evicted == ["inventory-0", "inventory-1", "inventory-2"]
    assert said == "evicted one after the other: inventory-0, inventory-1, inventory-2"


async def test_a_restart_waits_for_a_disruption_budget(actuator: KubernetesActuator, cluster: Cluster) -> None:
    cluster.budget = 3
    await actuator.restart("payment")
    assert len(cluster.evicted) == 2


async def test_a_restart_gives_up_when_the_budget_never_allows_it(
    cluster: Cluster, actuator: KubernetesActuator
) -> None:
    cluster.budget = 10**6
    actuator._times = Times(call=2.0, restart=0.2, look=0.02)
    error = await failing(actuator.restart("payment"))
    assert error.failure is Failure.REFUSED
    assert "disruption budget" in str(error)
    assert cluster.evicted == []


async def test_a_restart_stops_where_a_successor_does_not_come(actuator: KubernetesActuator, cluster: Cluster) -> None:
    cluster.successors = False
    actuator._times = Times(call=2.0, restart=0.2, look=0.02)
    error = await failing(actuator.restart("inventory"))
    assert error.failure is Failure.TIMEOUT
    assert "evicted before: inventory-0" in str(error)
    assert cluster.evicted == ["inventory-0"]


async def test_a_service_that_is_not_all_ready_is_not_restarted(actuator: KubernetesActuator, cluster: Cluster) -> None:
    cluster.unready = 1
    assert (await failing(actuator.restart("inventory"))).failure is Failure.REFUSED
    assert cluster.evicted == []


async def test_nobody_there_is_unavailable(actuator: KubernetesActuator, tmp_path: Path) -> None:
    config = (tmp_path / "config").read_text()
    (tmp_path / "config").write_text(config.replace(config.split("server: ")[1].split('"')[1], "http://127.0.0.1:1"))
    gone = KubernetesActuator(connect(), times=Times(call=0.5))
    assert (await failing(gone.fleet("payment"))).failure is Failure.UNAVAILABLE


async def test_without_a_cluster_or_kubeconfig_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(ActuatorError, match="no cluster and no kubeconfig"):
        connect()


def conflict(cluster: Cluster) -> None:
    def autoscaler(cluster: Cluster) -> None:
        cluster.version += 1
        cluster.replicas["payment-v1"] = 7

    cluster.interfere = autoscaler


def forbidden(cluster: Cluster) -> None:
    cluster.rules = [rule for rule in cluster.rules if "deployments/scale" not in rule["resources"]]


def missing(cluster: Cluster) -> None:
    cluster.interfere = None
    cluster.replicas["payment-v1"] = 2
    del cluster.replicas["payment-v1"]


def timeout(cluster: Cluster) -> None:
    cluster.hang = threading.Event()


@pytest.mark.parametrize(
    ("trouble", "outcome", "left"),
    [(conflict, "conflict", 7), (forbidden, "forbidden", 2), (timeout, "timeout", 2)],
    ids=["conflict", "forbidden", "timeout"],
)
async def test_each_trouble_of_the_server_ends_in_a_clear_audit_record_and_no_half_action(
    actuator: KubernetesActuator, cluster: Cluster, tmp_path: Path,
    trouble: Callable[[Cluster], None], outcome: str, left: int,
) -> None:  # fmt: skip
    platform = Platform(tmp_path)
    platform.acting._actuator = platform.remediator._actuator = actuator
    trouble(cluster)
    platform.probabilities["payment"] = 0.8
    await platform.minutes(5)
    (record,) = platform.actions()
    assert (record.outcome, record.actuator) == (outcome, "kubernetes")
    assert len(record.detail) > 10
    assert cluster.replicas["payment-v1"] == left
    platform.end()


async def test_a_deployment_that_vanishes_leaves_its_replicas_unknown_and_nothing_done(
    actuator: KubernetesActuator, cluster: Cluster, tmp_path: Path
) -> None:
    platform = Platform(tmp_path)
    platform.acting._actuator = platform.remediator._actuator = actuator
    missing(cluster)
    platform.probabilities["payment"] = 0.8
    await platform.minutes(5)
    (record,) = platform.records()
    assert (record.decision, record.reason) == ("hold", "unknown: nobody knows its replicas")
    assert cluster.writes() == []
    platform.end()
