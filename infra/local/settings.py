"""Every setting of the local stack, from `HOLDFAST_*` variables and from `holdfast.toml`.

A key of the file and a variable are the same word: `replicas_payment = 2` and `HOLDFAST_REPLICAS_PAYMENT=2`.
The environment wins over the file, the file over the defaults below.
"""

import ipaddress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "HOLDFAST_"


@dataclass(frozen=True, slots=True)
class Service:
    """One service as the stack runs it: `payment-v2` is the module `payment` with another `API_VERSION`."""

    name: str
    module: str
    api_version: str = "v1"

    @property
    def key(self) -> str:
        """The service's name inside a setting's name."""
        return self.name.replace("-", "_")


SERVICES = (
    Service("order", "order"),
    Service("payment", "payment"),
    Service("payment-v2", "payment", "v2"),
    Service("inventory", "inventory"),
)
MODULES = ("order", "payment", "inventory")
CONTROL_ROOM = "control_room"
"""The module that takes in traces: one process on the loopback address, with a SQLite file whatever `database` is."""
_MODEL_DIRECTORIES = ("ml/models", ".local/ml/models")
"""Where a model is looked for: the committed one, then one of one's own."""
_MODEL_FILES = ("model.onnx", "manifest.json", "manifest.sig")
PAGE = "control_room.page"
"""The module of the control room's page: another process, so that neither takes the other down."""


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise PydanticCustomError("address", "not an IP address (127.0.0.1 serves this machine only)") from None
    return value


def _url(address: str) -> "URL":
    # here, as most commands are quicker done than SQLAlchemy is imported
    from sqlalchemy.engine import make_url

    return make_url(address)


def _database(value: str) -> str:
    if value in ("sqlite", "postgres"):
        return value
    from sqlalchemy.exc import ArgumentError

    try:
        url = _url(value)
    except ArgumentError:
        raise PydanticCustomError("database", "neither 'sqlite', 'postgres' nor a database URL") from None
    if url.drivername not in ("postgresql", "postgresql+asyncpg"):
        raise PydanticCustomError("database", "a database URL starts with postgresql+asyncpg://")
    if "{service}" not in (url.database or ""):
        raise PydanticCustomError(
            "database", "each service has its own database: the URL's database name must contain {{service}}"
        )
    return value


def _keys(value: str) -> str:
    if not any(part.strip() for part in value.split(":")):
        raise PydanticCustomError("keys", "at least one file or directory, with ':' between them")
    return value


def _command(value: str) -> str:
    try:
        value.format(python="", module="")
    except (KeyError, IndexError, ValueError):
        raise PydanticCustomError("command", "only {{python}} and {{module}} can stand in braces") from None
    return value


Port = Annotated[int, Field(ge=1, le=65535)]
Replicas = Annotated[int, Field(ge=0, le=50)]
Slots = Annotated[int, Field(ge=1, le=50)]
Megabytes = Annotated[int, Field(ge=1, le=1_000_000)]


class LocalSettings(BaseSettings):
    """Settings of one stack. Ports are TCP; sizes are in mebibytes; times in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    bind: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    state_dir: Path = Path(".local")
    database: Annotated[str, AfterValidator(_database)] = "sqlite"
    service_command: Annotated[str, AfterValidator(_command)] = "{python} -m services.{module}"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    ready_timeout: Annotated[float, Field(gt=0, le=600)] = 60.0

    port: Port = 8080
    port_payment: Port = 8081
    port_payment_v2: Port = 8082
    port_inventory: Port = 8083

    replica_port_order: Port = 8101
    replica_port_payment: Port = 8111
    replica_port_payment_v2: Port = 8121
    replica_port_inventory: Port = 8131

    fault_injection: Literal["on", "off"] = "on"

    mesh: Literal["envoy", "off"] = "envoy"
    envoy_stats_port: Port = 9902

    traces: Literal["on", "off"] = "on"
    otel_traces_sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = "parentbased_always_on"
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0
    trace_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    port_control_room: Port = 8090

    page: Literal["on", "off"] = "on"
    port_page: Port = 8088

    nats_port: Port = 4222
    nats_monitor_port: Port = 8222
    postgres_port: Port = 5433
    prometheus_port: Port = 9090
    alertmanager_port: Port = 9093

    replicas_order: Replicas = 1
    replicas_payment: Replicas = 1
    replicas_payment_v2: Replicas = 1
    replicas_inventory: Replicas = 1

    slots_order: Slots = 4
    slots_payment: Slots = 4
    slots_payment_v2: Slots = 2
    slots_inventory: Slots = 4

    payment_url: str = ""
    inventory_url: str = ""

    prometheus: Literal["on", "off"] = "on"
    prometheus_url: str = ""
    alert_webhook_url: str = ""
    scrape_seconds: Annotated[int, Field(ge=1, le=60)] = 5
    prometheus_days: Annotated[int, Field(ge=1, le=3650)] = 31
    prometheus_mb: Megabytes = 512

    prediction: Literal["auto", "on", "off"] = "auto"
    model_dir: str = ""
    trusted_keys: Annotated[str, AfterValidator(_keys)] = "ml/keys:.local/ml"
    minute_seconds: Annotated[float, Field(ge=1, le=600)] = 60.0
    port_predictor: Port = 8095
    remediation: Literal["shadow", "approve", "auto", "off"] = "shadow"
    remediation_policy: str = "ml/remediation/policy.yaml"
    port_remediation: Port = 8096

    service_memory_mb: Annotated[int, Field(ge=0, le=1_000_000)] = 1024
    nats_memory_mb: Megabytes = 64
    nats_file_mb: Megabytes = 1024
    log_max_mb: Megabytes = 5

    @model_validator(mode="after")
    def _fits_together(self) -> "LocalSettings":
        for service in SERVICES:
            if self.replicas(service) > self.slots(service):
                _refuse(
                    f"replicas_{service.key}",
                    f"{self.replicas(service)} replicas do not fit into {self.slots(service)} slots; "
                    f"raise slots_{service.key}",
                )
        owner: dict[int, str] = {}
        for name, port in self.ports():
            if port > 65535:
                _refuse(name, "its last replica's port would be over 65535")
            if port in owner:
                _refuse(name, f"port {port} is already that of {owner[port]}")
            owner[port] = name
        return self

    def service_port(self, service: Service) -> int:
        """The service's address for its callers: Envoy's, or without a mesh the one that all replicas share."""
        return int(getattr(self, self.service_port_setting(service)))

    @staticmethod
    def service_port_setting(service: Service) -> str:
        """The setting that moves it: `port` is that of the order service, the platform's front door."""
        return "port" if service.name == "order" else f"port_{service.key}"

    def replica_port(self, service: Service, number: int) -> int:
        """The own port of replica `number`, counted from 1."""
        return int(getattr(self, f"replica_port_{service.key}")) + number - 1

    def replicas(self, service: Service) -> int:
        """How many replicas `up` starts."""
        return int(getattr(self, f"replicas_{service.key}"))

    def slots(self, service: Service) -> int:
        """How many replicas `scale` can go to."""
        return int(getattr(self, f"slots_{service.key}"))

    def ports(self) -> list[tuple[str, int]]:
        """Every port of the stack, each with the name of the setting that moves it."""
        listed = [("nats_port", self.nats_port), ("nats_monitor_port", self.nats_monitor_port)]
        if self.database == "postgres":
            listed.append(("postgres_port", self.postgres_port))
        if self.mesh == "envoy":
            listed.append(("envoy_stats_port", self.envoy_stats_port))
        if self.traces == "on":
            listed.append(("port_control_room", self.port_control_room))
        if self.page == "on":
            listed.append(("port_page", self.port_page))
        if self.prometheus == "on" and not self.prometheus_url:
            listed += [("prometheus_port", self.prometheus_port), ("alertmanager_port", self.alertmanager_port)]
        if self.predicts:
            listed.append(("port_predictor", self.port_predictor))
        if self.remediates:
            listed.append(("port_remediation", self.port_remediation))
        for service in SERVICES:
            listed.append((self.service_port_setting(service), self.service_port(service)))
            listed += [
                (f"replica_port_{service.key}", self.replica_port(service, number))
                for number in range(1, self.slots(service) + 1)
            ]
        return listed

    @property
    def model(self) -> Path | None:
        """The directory of the model that the predictor would use; None when there is none."""
        chosen = [self.model_dir] if self.model_dir else _MODEL_DIRECTORIES
        whole = (ROOT / Path(each).expanduser() for each in chosen)
        return next((each for each in whole if all((each / name).is_file() for name in _MODEL_FILES)), None)

    @property
    def predicts(self) -> bool:
        """The stack runs the predictor: it is told to, or it can: with a model, and a Prometheus to learn from."""
        if self.prediction != "auto":
            return self.prediction == "on"
        watched = self.prometheus == "on" or bool(self.prometheus_url)
        return watched and self.model is not None and find_spec("onnxruntime") is not None

    @property
    def remediates(self) -> bool:
        """The stack runs what acts on predictions, or says what it would do."""
        return self.predicts and self.remediation != "off"

    @property
    def state(self) -> Path:
        """The state directory, absolute; a relative one is under the root of the tree."""
        return (ROOT / self.state_dir.expanduser()).resolve()

    @property
    def host(self) -> str:
        """Where a client on this machine reaches what listens on `bind`."""
        address = ipaddress.ip_address(self.bind)
        if address.is_unspecified:
            return "127.0.0.1" if address.version == 4 else "[::1]"
        return self.bind if address.version == 4 else f"[{self.bind}]"

    @property
    def host_name(self) -> str:
        """The same by a name where it has one: services are called by names everywhere, so that these can be lost."""
        return "localhost" if self.host == "127.0.0.1" else self.host

    def masked_database(self) -> str:
        """`database` as it may be shown."""
        return self.database if self.database in ("sqlite", "postgres") else _url(self.database).render_as_string()

    def external_database(self, module: str) -> "URL | None":
        """The URL of a service's database on a server that the stack does not run, or None when it runs its own."""
        if self.database in ("sqlite", "postgres"):
            return None
        url = _url(self.database)
        return url.set(drivername="postgresql+asyncpg", database=(url.database or "").replace("{service}", module))


def _refuse(key: str, reason: str) -> None:
    # Raised from a validator of the whole model, the error has no location of its own: it carries the key.
    raise PydanticCustomError("together", "{reason}", {"key": key, "reason": reason})


def service_named(name: str) -> Service | None:
    """The service of that name, or None."""
    return next((service for service in SERVICES if service.name == name), None)
