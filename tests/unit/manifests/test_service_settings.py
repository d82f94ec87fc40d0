"""What a pod gives to a service is what the service's own settings take: variables, secret files, ports, paths."""

import base64
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from fastapi import FastAPI

from infra.kubernetes import secrets
from services.inventory.settings import InventorySettings
from services.order.settings import OrderSettings
from services.payment.settings import PaymentSettings
from shared.chassis.settings import ConfigurationError, DatabaseSettings, ServiceSettings
from shared.telemetry.tracing import ENDPOINT
from tests.unit.manifests.building import (
    INFRA,
    OVERLAYS,
    SERVICES,
    Document,
    container,
    named,
    of_kind,
    overlay,
    pod,
    pod_labels,
    services,
    workloads,
)

SETTINGS: dict[str, type[ServiceSettings]] = {
    "order": OrderSettings,
    "payment": PaymentSettings,
    "inventory": InventorySettings,
}
OPERATORS = ("control-room", "remediation")
READ_ELSEWHERE = {"SECRETS_DIR", ENDPOINT}
POD_NAME = "payment-v2-5d4f8c9b7c-x2x9k"

Mount = Callable[[Document], DatabaseSettings]


def environment(workload: Document) -> dict[str, str]:
    """A container's variables, with the pod's name filled in."""
    return {each["name"]: each.get("value", POD_NAME) for each in container(workload)["env"]}


def projected(workload: Document) -> tuple[str, dict[str, str], int]:
    """The Secret that a pod mounts as files: its name, key -> file name, mode."""
    (volume,) = (each["projected"] for each in pod(workload)["volumes"] if each["name"] == "secrets")
    (source,) = volume["sources"]
    items = {item["key"]: item["path"] for item in source["secret"]["items"]}
    return source["secret"]["name"], items, volume["defaultMode"]


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Document], None]:
    """Makes this process's environment and secrets those of a pod, as the kubelet lays them out."""

    def mount(workload: Document) -> None:
        name, items, mode = projected(workload)
        values = secrets.make()[name]
        home = tmp_path / workload["metadata"]["name"]
        data = home / "..2026_11_23_14_20_11.0815"
        data.mkdir(parents=True)
        (home / "..data").symlink_to(data.name)
        for key, path in items.items():
            (data / path).write_text(values[key])
            (data / path).chmod(mode)
            (home / path).symlink_to(f"..data/{path}")
        for variable in {field.upper() for type_ in SETTINGS.values() for field in type_.model_fields}:
            monkeypatch.delenv(variable, raising=False)
        for variable, value in environment(workload).items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setenv("SECRETS_DIR", str(home))

    return mount


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_service_starts_from_the_variables_and_secret_files_of_its_pod(
    name: str, mount: Callable[[Document], None]
) -> None:
    for workload in services(overlay(name)):
        service = pod_labels(workload)["app"]
        mount(workload)
        settings = SETTINGS[service].load()
        assert settings.migrate == "off"
        assert settings.instance == POD_NAME
        assert settings.database_url.get_secret_value().startswith(f"postgresql+asyncpg://{service}:")
        assert settings.api_version == pod_labels(workload)["version"]
        assert importlib.import_module(f"services.{service}.app").create_app(settings).version


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_variable_or_secret_of_a_pod_is_one_that_the_service_knows(name: str) -> None:
    for workload in services(overlay(name)):
        fields = SETTINGS[pod_labels(workload)["app"]].model_fields
        variables, files = {*environment(workload)}, {*projected(workload)[1].values()}
        assert variables - {field.upper() for field in fields} <= READ_ELSEWHERE
        assert files <= {*fields}
        assert not {file.upper() for file in files} & variables, "given twice"
        required = {field for field, info in fields.items() if info.is_required()}
        assert required <= files | {variable.lower() for variable in variables}


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_migration_holds_the_address_of_the_database_and_no_other_secret(
    name: str, mount: Callable[[Document], None]
) -> None:
    jobs = of_kind(overlay(name), "Job")
    assert {pod_labels(job)["migrates"] for job in jobs} == {*SERVICES}
    for job in jobs:
        service = pod_labels(job)["migrates"]
        assert container(job)["command"] == ["python3", "-m", f"services.{service}", "migrate"]
        assert container(job)["image"].startswith(f"holdfast/{service}:")
        assert projected(job)[:2] == (service, {"database_url": "database_url"})
        mount(job)
        assert DatabaseSettings.load(service=service).database_url.get_secret_value()
        with pytest.raises(ConfigurationError):
            SETTINGS[service].load()


@pytest.mark.parametrize("name", OVERLAYS)
def test_secret_files_are_for_the_pods_group_and_nobody_else(name: str) -> None:
    for workload in [*services(overlay(name)), *of_kind(overlay(name), "Job")]:
        security = pod(workload)["securityContext"]
        assert projected(workload)[2] == 0o440
        assert security["fsGroup"] == security["runAsGroup"] == security["runAsUser"] == 10001


@pytest.mark.parametrize("name", OVERLAYS)
def test_probes_ask_what_the_service_answers_on_the_port_that_it_listens_on(
    name: str, mount: Callable[[Document], None]
) -> None:
    for workload in services(overlay(name)):
        service, only = pod_labels(workload)["app"], container(workload)
        mount(workload)
        settings = SETTINGS[service].load()
        app: FastAPI = importlib.import_module(f"services.{service}.app").create_app(settings)
        paths = {*app.openapi()["paths"]}
        asked = {probe: only[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}
        assert asked == {"startup": "/health/startup", "liveness": "/health/live", "readiness": "/health/ready"}
        assert {*asked.values()} <= paths
        (port,) = only["ports"]
        assert port["containerPort"] == settings.port
        assert {only[f"{probe}Probe"]["httpGet"]["port"] for probe in asked} == {port["name"]}
        (exposed,) = named(overlay(name), "Service", service)["spec"]["ports"]
        assert (exposed["port"], exposed["targetPort"]) == (settings.port, port["name"])
        assert only["command"] == ["python3", "-m", f"services.{service}"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_address_that_a_pod_is_given_is_a_service_that_leads_to_pods(name: str) -> None:
    built = overlay(name)
    addresses = {
        value
        for workload in services(built)
        for variable, value in environment(workload).items()
        if variable.endswith(("_URL", "_ENDPOINT"))
    }
    assert addresses >= {"http://payment:8080", "http://inventory:8080", "nats://nats:4222"}
    for address in addresses:
        target = urlsplit(address)
        service = named(built, "Service", str(target.hostname))["spec"]
        (exposed,) = (port for port in service["ports"] if port["port"] == target.port)
        selected = [
            each
            for each in of_kind(built, "Deployment", "StatefulSet")
            if service["selector"].items() <= pod_labels(each).items()
        ]
        assert selected
        for workload in selected:
            assert exposed["targetPort"] in {port["name"] for port in container(workload)["ports"]}


def test_the_collector_listens_where_services_send_and_probes_ask() -> None:
    collector = yaml.safe_load((INFRA / "otel-collector" / "collector.yaml").read_text(encoding="utf-8"))
    jaeger = yaml.safe_load((INFRA / "jaeger" / "config.yaml").read_text(encoding="utf-8"))
    built = overlay("production")

    def ports(name: str, kind: str) -> dict[str, int]:
        return {each["name"]: each["containerPort"] for each in container(named(built, kind, name))["ports"]}

    def port(address: str) -> int:
        return int(address.rpartition(":")[2])

    protocols = collector["receivers"]["otlp"]["protocols"]
    assert ports("otel-collector", "Deployment") == {
        "otlp-grpc": port(protocols["grpc"]["endpoint"]),
        "otlp-http": port(protocols["http"]["endpoint"]),
        "metrics": 8888,
        "health": port(collector["extensions"]["health_check"]["endpoint"]),
    }
    assert collector["exporters"]["otlp/jaeger"]["endpoint"] == "jaeger:4317"
    assert ports("jaeger", "StatefulSet") == {
        "otlp-grpc": port(jaeger["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]),
        "query": port(jaeger["extensions"]["jaeger_query"]["http"]["endpoint"]),
        "metrics": 8888,
        "health": port(jaeger["extensions"]["healthcheckv2"]["http"]["endpoint"]),
    }
    (claim,) = named(built, "StatefulSet", "jaeger")["spec"]["volumeClaimTemplates"]
    mounts = {
        each["name"]: each["mountPath"] for each in container(named(built, "StatefulSet", "jaeger"))["volumeMounts"]
    }
    stored = jaeger["extensions"]["jaeger_storage"]["backends"]["traces"]["badger"]["directories"]
    assert all(each.startswith(mounts[claim["metadata"]["name"]] + "/") for each in stored.values())


def test_streams_are_kept_by_as_many_servers_as_the_broker_has() -> None:
    for name in OVERLAYS:
        broker = named(overlay(name), "StatefulSet", "nats")
        servers = [f"nats-{number}.{broker['spec']['serviceName']}" for number in range(broker["spec"]["replicas"])]
        assert servers == [*secrets.BROKERS]
        for service in ("order", "payment-v1", "payment-v2"):
            given = environment(named(overlay(name), "Deployment", service))
            assert int(given["NATS_REPLICAS"]) == broker["spec"]["replicas"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_secrets_that_are_made_are_those_that_pods_mount(name: str) -> None:
    made: dict[str, set[str]] = {secret: {*values} for secret, values in secrets.make().items()}
    mounted: dict[str, set[str]] = {}
    for workload in services(overlay(name)):
        secret, items, _ = projected(workload)
        mounted.setdefault(secret, set()).update(items)
    for workload in (each for each in workloads(overlay(name)) if each["metadata"]["name"] in OPERATORS):
        secret, items, _ = projected(workload)
        mounted[secret] = {*items}
    for workload in of_kind(overlay(name), "StatefulSet"):
        for volume in pod(workload)["volumes"]:
            if "secret" in volume:  # mounted whole
                mounted[volume["secret"]["secretName"]] = made[volume["secret"]["secretName"]]
    del made["operator"]  # a person's
    if name == "production":  # the databases are elsewhere
        del made["postgres"]
    else:  # nothing predicts
        del made["remediation"]
    assert mounted == made


def test_secrets_are_made_anew_each_time_and_fit_together() -> None:
    one, two = secrets.make("postgresql+asyncpg://{service}:{password}@db/x_{service}"), secrets.make()
    assert one["order"]["order_to_payment_key"] == one["payment"]["order_to_payment_key"]
    assert one["order"]["order_to_inventory_key"] == one["inventory"]["order_to_inventory_key"]
    assert one["order"]["order_to_payment_key"] != one["order"]["order_to_inventory_key"]
    assert one["order"]["database_url"] == f"postgresql+asyncpg://order:{one['postgres']['order_password']}@db/x_order"
    assert not {*_values(one)} & {*_values(two)}
    assert len(base64.b64decode(one["payment"]["card_sealing_private_key"])) == 32
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(secrets.manifests(one)))
    assert {each["metadata"]["name"]: each["stringData"] for each in documents} == one


def _values(made: dict[str, dict[str, str]]) -> list[str]:
    return [value for values in made.values() for value in values.values()]
