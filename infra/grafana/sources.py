"""Names that the dashboards, the provisioning files and the alerts share."""

from grafana_foundation_sdk.models.dashboard import DataSourceRef

from infra.prometheus.objectives import read_objectives

PROMETHEUS = DataSourceRef("prometheus", "prometheus")
GRAFANA = DataSourceRef("grafana", "-- Grafana --")
"""Grafana's own store, which keeps the annotations that the chaos runner posts."""

TAG = "holdfast"

RATE = "$__rate_interval"
"""Grafana chooses it: four scrapes at least, and no gaps between two points."""

RANGE = "$__range"

LINKS = read_objectives().links


def dashboard_path(uid: str) -> str:
    """Where a dashboard is, as the alerts say it."""
    return f"{LINKS.dashboards}/{uid}"


def runbook_path(alert: str) -> str:
    """Where the runbook of an alert is, as the alert says it."""
    return f"{LINKS.runbooks}/{alert}.md"
