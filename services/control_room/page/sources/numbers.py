"""What Prometheus knows, in one question: many expressions joined by `or`, each marked with the name of its part."""

from collections.abc import Mapping
from typing import Any

from services.control_room.page.web import Away, Web

_CLIENT = "http_client_request_duration_seconds"
_CUSTOMERS = 'service="order",handler=~"/orders.*"'
_MARK = "part"


def expressions(window: str) -> dict[str, str]:
    """PromQL by part. Edges have the labels `service` (who calls) and `to`; rates are per second, latencies seconds."""
    network, lost = "card_network_calls_total", 'card_network_calls_total{outcome=~"timeout|unavailable"}'
    calls = f"sum by (service, to) (rate({_CLIENT}_count[{window}]))"
    failed = f'sum by (service, to) (rate({_CLIENT}_count{{outcome!="answered"}}[{window}]))'
    asked = f"sum(rate(http_requests_total{{{_CUSTOMERS}}}[{window}]))"
    refused = f'(sum(rate(http_requests_total{{{_CUSTOMERS},status=~"5.."}}[{window}])) or vector(0))'
    buckets = f"sum by (service, to, le) (rate({_CLIENT}_bucket[{window}]))"
    edge_buckets = f"sum by (le) (rate(http_request_duration_seconds_bucket{{{_CUSTOMERS}}}[{window}]))"
    queued, settled = (f'sum(rate(messages_total{{subject="payments.{each}"}}[{window}]))' for each in
                       ("requested", "settled"))  # fmt: skip
    return {
        "rate": _any(
            calls,
            _edge(asked, "customers", "order"),
            _edge(f"sum(rate({network}[{window}]))", "payment", "card network"),
            _edge(queued, "order", "queue"),
            _edge(settled, "payment", "queue"),
        ),
        "errors": _any(
            f"{failed} / ({calls} > 0)",
            _edge(f"{refused} / ({asked} > 0)", "customers", "order"),
            _edge(f"(sum(rate({lost}[{window}])) or vector(0)) / (sum(rate({network}[{window}])) > 0)", "payment",
                  "card network"),
        ),
        "p99": _any(
            f"histogram_quantile(0.99, {buckets})",
            _edge(f"histogram_quantile(0.99, {edge_buckets})", "customers", "order"),
        ),
        "under_way": "max by (state) (orders_unfinished)",
        "ended": "sum by (state) (orders_ended_total)",
        "answered": "sum by (status) (orders_total)",
        "outbox": "max by (service) (outbox_messages)",
        "burn": "max by (slo) (slo:burn_rate:1h)",
    }  # fmt: skip


class Numbers:
    """Asks Prometheus. Windows are four scrapes, since two may be late."""

    def __init__(self, web: Web, url: str, scrape_seconds: float) -> None:
        self._web, self._url = web, url
        window = f"{max(8, round(scrape_seconds * 4))}s"
        self._query = _any(
            *(f'label_replace({text}, "{_MARK}", "{name}", "", "")' for name, text in expressions(window).items())
        )

    async def read(self) -> dict[str, Any]:
        """All parts. Raises `Away`."""
        if not self._url:
            raise Away("no Prometheus is configured: rates, errors and latencies are not known")
        status, body = await self._web.ask(
            "POST", f"{self._url}/api/v1/query", data={"query": self._query, "timeout": "2s"}, seconds=2.0
        )
        if status != 200 or not isinstance(body, dict):
            raise Away(_complaint(body, status))
        return parted(body)

    async def alerts(self) -> list[dict[str, Any]]:
        """Alerts that fire or are about to, the firing ones first. Raises `Away`."""
        if not self._url:
            raise Away("no Prometheus is configured: nobody evaluates alerts")
        body = await self._web.get(f"{self._url}/api/v1/alerts")
        listed = [
            {
                "name": each["labels"].get("alertname", ""),
                "service": each["labels"].get("service", ""),
                "severity": each["labels"].get("severity", ""),
                "state": each["state"],
                "since": each.get("activeAt", ""),
                "summary": each.get("annotations", {}).get("summary", ""),
            }
            for each in body["data"]["alerts"]
        ]
        return sorted(listed, key=lambda each: (each["state"] != "firing", each["name"], each["service"]))


def parted(body: Mapping[str, Any]) -> dict[str, Any]:
    """Prometheus' answer as parts: edges as a list, the rest as `{labels, value}` rows."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for series in body["data"]["result"]:
        labels = dict(series["metric"])
        value = float(series["value"][1])
        if value == value:  # not NaN: nobody has asked there
            rows.setdefault(labels.pop(_MARK, ""), []).append({"labels": labels, "value": value})
    edges: dict[tuple[str, str], dict[str, Any]] = {}
    for name in ("rate", "errors", "p99"):
        for row in rows.pop(name, ()):
            caller, called = row["labels"].get("service", ""), row["labels"].get("to", "")
            edges.setdefault((caller, called), {"from": caller, "to": called})[name] = row["value"]
    return {"edges": list(edges.values()), **rows}


def _edge(expr: str, caller: str, called: str) -> str:
    named = f'label_replace({expr}, "service", "{caller}", "", "")'
    return f'label_replace({named}, "to", "{called}", "", "")'


def _any(*expressions: str) -> str:
    return " or ".join(expressions)


def _complaint(body: Any, status: int) -> str:
    said = body.get("error", "") if isinstance(body, dict) else ""
    return f"Prometheus answers HTTP {status} {said}"[:200].strip()
