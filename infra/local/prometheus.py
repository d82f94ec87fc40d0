"""Prometheus and Alertmanager: their configuration and commands.

Both are optional: where a binary is not to be had, the stack says so and goes on. Which replicas are scraped stands in
a file of its own that Prometheus watches. It lists the replicas that should run, so `up` is 0 for one that was killed,
and a spare slot is no target at all.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from infra.local import envoy
from infra.local.distribution import ALERTMANAGER, PROMETHEUS, Tool, expected
from infra.local.settings import CONTROL_ROOM, ROOT, LocalSettings
from infra.local.state import StateDirectory

TOOLS: dict[str, Tool] = {"prometheus": PROMETHEUS, "alertmanager": ALERTMANAGER}
"""The programs that the stack goes on without, by name."""

RULES = ROOT / "infra" / "prometheus" / "rules"

Hook = dict[str, object]
"""A webhook in Alertmanager's words; empty for none."""

_MEMORY_MB = {"prometheus": 256, "alertmanager": 48}


class Target(NamedTuple):
    """A process that should be scraped: its name, `host:port`, service, and the version of its API."""

    instance: str
    address: str
    service: str
    api_version: str = "v1"


def runs(settings: LocalSettings) -> bool:
    """The stack has a Prometheus of its own."""
    return settings.prometheus == "on" and not settings.prometheus_url


def url(settings: LocalSettings) -> str:
    """Where Prometheus answers; empty when there is none."""
    return settings.prometheus_url or (f"http://127.0.0.1:{settings.prometheus_port}" if runs(settings) else "")


def alertmanager_url(settings: LocalSettings) -> str:
    """Where Alertmanager answers; empty when there is none."""
    return f"http://127.0.0.1:{settings.alertmanager_port}" if runs(settings) else ""


def commands(settings: LocalSettings, state: StateDirectory) -> dict[str, tuple[str, ...]]:
    """How the supervisor starts them, both on loopback only: neither asks who is calling."""
    return {
        "alertmanager": (
            str(expected(ALERTMANAGER)),
            f"--config.file={_alertmanager_file(state)}",
            f"--storage.path={state.data / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{settings.alertmanager_port}",
            "--cluster.listen-address=",
            "--log.format=json",
        ),
        "prometheus": (
            str(expected(PROMETHEUS)),
            f"--config.file={_configuration_file(state)}",
            f"--storage.tsdb.path={state.data / 'prometheus'}",
            f"--storage.tsdb.retention.time={settings.prometheus_days}d",
            f"--storage.tsdb.retention.size={settings.prometheus_mb}MB",
            f"--web.listen-address=127.0.0.1:{settings.prometheus_port}",
            "--query.timeout=10s",
            "--enable-feature=exemplar-storage",
            "--log.format=json",
        ),
    }


def environment(name: str) -> dict[str, str]:
    """Keeps a heap small: the garbage collector works harder from there on."""
    return {"GOMEMLIMIT": f"{_MEMORY_MB[name]}MiB"}


def targets_file(state: StateDirectory) -> Path:
    """The list of what should be scraped, in the format of Prometheus' service discovery by file."""
    return state.run / "targets" / "services.json"


def write_configuration(settings: LocalSettings, state: StateDirectory) -> None:
    """Write both configurations, and an empty list of targets when there is none yet."""
    write_targets(state, [])
    if not runs(settings):
        return
    for name in TOOLS:
        (state.data / name).mkdir(mode=0o700, exist_ok=True)
    _write(_configuration_file(state), render(settings, state))
    _write(_alertmanager_file(state), render_alertmanager(settings, _page_hook(settings, state)))


def write_targets(state: StateDirectory, targets: Iterable[Target]) -> None:
    """Say what should be scraped; the control room's page reads it, too, also where there is no Prometheus."""
    listed = [
        {
            "targets": [each.address],
            "labels": {"service": each.service, "instance": each.instance, "api_version": each.api_version},
        }
        for each in targets
    ]
    targets_file(state).parent.mkdir(mode=0o700, exist_ok=True)
    _write(targets_file(state), json.dumps(listed, indent=2) + "\n")


def render(settings: LocalSettings, state: StateDirectory) -> str:
    """Prometheus' configuration; JSON is YAML, so quoting is JSON's."""
    scrape = settings.scrape_seconds
    configuration = {
        "global": {
            "scrape_interval": f"{scrape}s",
            "scrape_timeout": f"{min(scrape, 4)}s",
            "evaluation_interval": f"{scrape}s",
        },
        "rule_files": [str(RULES / "*.yaml")],
        "alerting": {"alertmanagers": [_static(settings.alertmanager_port)]},
        "scrape_configs": [
            {
                "job_name": "services",
                "file_sd_configs": [{"files": [str(targets_file(state))], "refresh_interval": "15s"}],
                # A metric that names its service knows better than its target does.
                "honor_labels": True,
                # A service that makes up labels without end loses its scrape, and the others lose nothing.
                "sample_limit": 20_000,
                "label_limit": 24,
            },
            *_envoy(settings),
            _prediction(settings),
            {"job_name": "prometheus", **_itself("prometheus", settings.prometheus_port)},
            {"job_name": "alertmanager", **_itself("alertmanager", settings.alertmanager_port)},
        ],
    }
    return json.dumps(configuration, indent=2) + "\n"


def render_alertmanager(settings: LocalSettings, *own_hooks: Hook) -> str:
    """Alertmanager's configuration: one receiver, which calls the stack's own webhooks and that of the settings."""
    hooks = [hook for hook in own_hooks if hook]
    if settings.alert_webhook_url:
        hooks.append({"url": settings.alert_webhook_url, "send_resolved": True})
    configuration = {
        "route": {
            "receiver": "operator",
            "group_by": ["alertname", "service"],
            "group_wait": "5s",
            "group_interval": "30s",
            "repeat_interval": "4h",
        },
        "receivers": [
            {"name": "operator", "webhook_configs": hooks},
        ],
        # Who has been called out for an objective needs no ticket about the same one.
        "inhibit_rules": [
            {
                "source_matchers": ['severity="page"'],
                "target_matchers": ['severity="ticket"'],
                "equal": ["slo", "service"],
            }
        ],
    }
    return json.dumps(configuration, indent=2) + "\n"


def _page_hook(settings: LocalSettings, state: StateDirectory) -> Hook:
    if settings.page == "off":
        return {}
    token = str(state.secrets / CONTROL_ROOM / "alert_token")
    address = f"http://127.0.0.1:{settings.port_page}/alerts"
    return {"url": address, "send_resolved": True, "http_config": {"authorization": {"credentials_file": token}}}


def _envoy(settings: LocalSettings) -> list[dict[str, object]]:
    if not envoy.runs(settings):
        return []
    used = {"metrics_path": "/stats/prometheus", "params": {"usedonly": [""]}, "sample_limit": 20_000}
    return [{"job_name": "envoy", **used, **_itself("envoy", settings.envoy_stats_port)}]


def _prediction(settings: LocalSettings) -> dict[str, object]:
    """Whoever runs them, the stack or somebody by hand; a job of its own, as nobody misses what is not there."""
    places = {"predictor": settings.port_predictor, "remediation": settings.port_remediation}
    static = [each for name, port in places.items() for each in _itself(name, port)["static_configs"]]
    # their metrics are about the services that they name
    return {"job_name": "prediction", "honor_labels": True, "sample_limit": 5_000, "static_configs": static}


def _itself(name: str, port: int) -> dict[str, list[dict[str, object]]]:
    return {"static_configs": [_static(port)["static_configs"][0] | {"labels": {"instance": name}}]}


def _static(port: int) -> dict[str, list[dict[str, object]]]:
    return {"static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}


def _configuration_file(state: StateDirectory) -> Path:
    return state.run / "prometheus.yml"


def _alertmanager_file(state: StateDirectory) -> Path:
    return state.run / "alertmanager.yml"


def _write(path: Path, text: str) -> None:
    # Renamed into place: Prometheus may read it at any moment. A webhook's address may hold a token.
    temporary = path.with_suffix(".part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
