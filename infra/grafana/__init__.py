"""The dashboards as code: one module a dashboard, `make dashboards` writes the JSON that Grafana provisions."""
