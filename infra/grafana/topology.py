"""Who calls whom, as the callers measure it.

    customers -> order -> payment -> card network
                       -> inventory
                       -> payment, by message; payment -> order, by message

An edge is a pair of labels, `service` (the caller) and `to`. Where the caller is none of ours, or its calls are counted
under another name, the query puts the labels there.
"""

from infra.grafana.expressions import breaker_state, quantile
from infra.grafana.sources import RATE

_CLIENT = "http_client_request_duration_seconds"
_NOT_HANDLED = ',outcome!="ack"'
_CUSTOMERS = 'service="order",handler=~"/orders.*"'


def _edge(expr: str, caller: str, callee: str) -> str:
    named = f'label_replace({expr}, "service", "{caller}", "", "")'
    return f'label_replace({named}, "to", "{callee}", "", "")'


def _messages(subject: str, where: str = "") -> str:
    return f'sum(rate(messages_total{{subject="{subject}"{where}}}[{RATE}]))'


def _unhandled(subject: str) -> str:
    return f"{_messages(subject, _NOT_HANDLED)} / ({_messages(subject)} > 0)"


def rates() -> str:
    """Calls a second on every edge."""
    return " or ".join(
        (
            f"sum by (service, to) (rate({_CLIENT}_count[{RATE}]))",
            _edge(f"sum(rate(http_requests_total{{{_CUSTOMERS}}}[{RATE}]))", "customers", "order"),
            _edge(f"sum(rate(card_network_calls_total[{RATE}]))", "payment", "card network"),
            _edge(_messages("payments.requested"), "order", "payment (queue)"),
            _edge(_messages("payments.settled"), "payment", "order (queue)"),
        )
    )


def error_shares() -> str:
    """The share of the calls on an edge that failed or were given up. A message that comes again has failed."""
    bad, every = f'{_CLIENT}_count{{outcome!="answered"}}', f"{_CLIENT}_count"
    customers = f"sum(rate(http_requests_total{{{_CUSTOMERS}}}[{RATE}]))"
    network = f"sum(rate(card_network_calls_total[{RATE}]))"
    lost = f'sum(rate(card_network_calls_total{{outcome=~"timeout|unavailable"}}[{RATE}]))'
    refused = f'(sum(rate(http_requests_total{{{_CUSTOMERS},status=~"5.."}}[{RATE}])) or vector(0))'
    return " or ".join(
        (
            f"sum by (service, to) (rate({bad}[{RATE}])) / (sum by (service, to) (rate({every}[{RATE}])) > 0)",
            _edge(f"{refused} / ({customers} > 0)", "customers", "order"),
            _edge(f"{lost} / ({network} > 0)", "payment", "card network"),
            _edge(_unhandled("payments.requested"), "order", "payment (queue)"),
            _edge(_unhandled("payments.settled"), "payment", "order (queue)"),
        )
    )


def latencies(share: float = 0.99) -> str:
    """The latency of an edge in seconds, where the caller measures it."""
    customers = _edge(quantile(share, _CUSTOMERS, by=""), "customers", "order")
    return f"{quantile(share, by='service, to', metric=_CLIENT)} or {customers}"


def breakers() -> str:
    """The worst breaker on every edge that has one."""
    to = f'label_replace({breaker_state()}, "to", "$1", "name", "([a-z_]+).*")'
    return f"max by (service, to) ({to})"
