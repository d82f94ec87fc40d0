"""What the operator's tools need to reach a stack."""

from infra.local import databases, nats, prometheus, secrets
from infra.local.remembered import in_force
from infra.local.settings import MODULES, LocalSettings
from infra.local.stack import LocalStack
from infra.local.state import StateDirectory


def operator_environment(settings: LocalSettings | None = None) -> dict[str, str]:
    """Addresses and the operator's secrets directory, as environment variables.

    Without settings, those of the stack that runs, or that `up` would start.

    No value is a secret. `<SERVICE>_DATABASE_URL` is there when the address holds no password; else
    `<SERVICE>_DATABASE_URL_FILE` names the file that holds it.
    """
    settings = settings or in_force()
    stack = LocalStack(settings)
    state = stack.state
    variables = {
        "ORDER_URL": stack.url("order"),
        "PAYMENT_URL": stack.url("payment"),
        "PAYMENT_V2_URL": stack.url("payment-v2"),
        "INVENTORY_URL": stack.url("inventory"),
        "NATS_URL": nats.url(settings),
        "NATS_USER": secrets.OPERATOR,
        "SECRETS_DIR": str(state.secrets / secrets.OPERATOR),
        "PROMETHEUS_URL": prometheus.url(settings),
        "TRACES_URL": stack.url("control-room") if settings.traces == "on" else "",
    }
    for module in MODULES:
        name = f"{module.upper()}_DATABASE_URL"
        if settings.database == "sqlite":
            variables[name] = databases.sqlite_url(state, module)
        else:
            variables[f"{name}_FILE"] = str(state.secrets / module / "database_url")
    return variables


def database_urls(settings: LocalSettings | None = None) -> dict[str, str]:
    """SQLAlchemy URL of every service's database, by service. They may hold passwords: keep them in this process.

    Raises:
        FileNotFoundError: a Postgres stack that was never started has no passwords yet.
    """
    settings = settings or in_force()
    state = StateDirectory(settings.state)
    return {module: databases.url(settings, state, module) for module in MODULES}
