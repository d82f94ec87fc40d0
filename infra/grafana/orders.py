"""Orders: what becomes of them, the money and the stock."""

from infra.grafana.expressions import LATENCY_STEPS, POSTED, TRACES, latencies
from infra.grafana.pages import Page, Section
from infra.grafana.panels import ORANGE, RED, YELLOW, About, Query, bars, lines, number
from infra.grafana.sources import RANGE, RATE


def _many(series: str) -> str:
    return f"sum(increase({series}[{RANGE}]))"


def _major(rate: str) -> str:
    """Amounts of `rate` in euros, pounds and so on; yen have no smaller unit."""
    return f'{rate % """{currency!="JPY"}"""} / 100 or {rate % """{currency="JPY"}"""}'


_FUNNEL = Section(
    "Funnel",
    (
        bars(
            About(
                "From answer to sale",
                "How many requests for orders were answered, and how many got so far, in the time shown.",
                "short",
            ),
            Query(_many("orders_total"), "answered"),
            Query(_many('reservations_total{outcome="held"}'), "stock held"),
            Query(_many('payments_total{outcome="captured"}'), "paid"),
            Query(_many('orders_ended_total{state="CONFIRMED"}'), "confirmed"),
            width=10,
        ),
        bars(
            About("Where they left", "How many orders ended otherwise, or wait, in the time shown.", "short"),
            Query(_many('reservations_total{outcome="insufficient_stock"}'), "out of stock"),
            Query(_many('orders_ended_total{state="DECLINED"}'), "card declined"),
            Query(_many('orders_total{status="202"}'), "payment queued"),
            Query(_many('orders_total{status="503"}'), "inventory away"),
            Query(_many('orders_ended_total{state=~"CANCELLED|FAILED"}'), "cancelled or failed"),
            width=6,
            steps=((1, YELLOW),),
        ),
        lines(
            About("Answers", "Answers to placed orders a second, by status.", "reqps"),
            Query(f"sum by (status) (rate(orders_total[{RATE}]))", "{{status}}"),
            stacked=True,
        ),
        lines(
            About("Latency of an order", f"Time to the answer of POST /orders. {TRACES}", "s"),
            *latencies(POSTED),
            steps=LATENCY_STEPS,
        ),
        lines(
            About("Orders ended", "Orders that came to a final state, a second.", "ops"),
            Query(f"sum by (state) (rate(orders_ended_total[{RATE}]))", "{{state}}"),
        ),
        lines(
            About("Orders under way", "Unfinished orders by state; replicas share the database, hence max.", "short"),
            Query("max by (state) (orders_unfinished)", "{{state}}"),
        ),
    ),
)

_MONEY = Section(
    "Money",
    (
        number(
            About("Revenue", "Captured in the time shown, in whole units of each currency.", "short"),
            Query(_major(f"sum by (currency) (increase(payment_amount_minor_total%s[{RANGE}]))"), "{{currency}}"),
            width=8,
            height=8,
        ),
        lines(
            About("Revenue a minute", "Captured money in whole units of each currency.", "short"),
            Query(_major(f"60 * sum by (currency) (rate(payment_amount_minor_total%s[{RATE}]))"), "{{currency}}"),
        ),
        lines(
            About("Payments", "Payments a second by what they came to.", "ops"),
            Query(f"sum by (outcome) (rate(payments_total[{RATE}]))", "{{outcome}}"),
        ),
        lines(
            About("Refunds", "Refunds a second by what they came to.", "ops"),
            Query(f"sum by (outcome) (rate(refunds_total[{RATE}]))", "{{outcome}}"),
        ),
        lines(
            About("Card network", "Calls to the card network a second, by answer.", "ops"),
            Query(f"sum by (outcome) (rate(card_network_calls_total[{RATE}]))", "{{outcome}}"),
        ),
        lines(
            About(
                "Fallbacks",
                "Guarded calls for payments: a success, or a failure that was answered by the fallback.",
                "ops",
            ),
            Query(f"sum(rate(payment_service_calls_success_total[{RATE}]))", "success"),
            Query(f"sum(rate(payment_service_calls_failure_total[{RATE}]))", "failure"),
            Query(f"sum(rate(payment_service_calls_fallback_total[{RATE}]))", "fallback"),
        ),
    ),
)

_QUEUE = Section(
    "Queued payments and messages",
    (
        lines(
            About("Queued payments", "Orders that wait for their queued payment.", "short"),
            Query("max(queued_payments)", "waiting"),
        ),
        lines(
            About(
                "Age of the oldest queued payment",
                "How long the oldest of them has waited.",
                "s",
                alerts=("QueuedPaymentsWait",),
            ),
            Query("max(queued_payments_oldest_seconds)", "oldest"),
            steps=((30, YELLOW), (60, RED)),
        ),
        lines(
            About("Outbox", "Messages that are written down and not with the broker yet.", "short"),
            Query("max by (service) (outbox_messages)", "{{service}}"),
        ),
        lines(
            About(
                "Age of the oldest message in the outbox",
                "How long the broker has kept it waiting.",
                "s",
                alerts=("OutboxNotRelayed",),
            ),
            Query("max by (service) (outbox_oldest_seconds)", "{{service}}"),
            steps=((30, YELLOW), (60, RED)),
        ),
        lines(
            About("Messages", "Messages settled a second: acknowledged, sent back for another delivery, dead.", "ops"),
            Query(f"sum by (subject, outcome) (rate(messages_total[{RATE}]))", "{{subject}} {{outcome}}"),
        ),
        number(
            About(
                "Dead letters",
                "Messages in the time shown that could not be handled: make dead-letters lists them.",
                "short",
                alerts=("DeadLetters",),
            ),
            Query(f'sum by (subject) (increase(messages_total{{outcome="dead"}}[{RANGE}]))', "{{subject}}"),
            width=8,
            height=8,
            steps=((0.5, RED),),
        ),
    ),
)

_STOCK = Section(
    "Stock and recovery",
    (
        lines(
            About("Holds", "Reservations that hold stock now.", "short"),
            Query("max by (state) (inventory_holds)", "{{state}}"),
            width=6,
        ),
        lines(
            About("Stock", "Units over all products: free, held, sold.", "short"),
            Query("max by (kind) (stock_units)", "{{kind}}"),
            width=6,
            stacked=True,
        ),
        lines(
            About(
                "Reservations", "Calls on reservations a second, by what they came to, and holds that ran out.", "ops"
            ),
            Query(f"sum by (outcome) (rate(reservations_total[{RATE}]))", "{{outcome}}"),
            Query(f"sum(rate(holds_expired_total[{RATE}]))", "expired"),
            width=6,
        ),
        lines(
            About("Orders resumed", "Orders a second that recovery took over, by the state they were in.", "ops"),
            Query(f"sum by (state) (rate(orders_resumed_total[{RATE}]))", "{{state}}"),
            width=6,
            steps=((1, ORANGE),),
        ),
    ),
)

PAGE = Page(
    uid="orders",
    title="Order funnel",
    description="What becomes of orders: answers, money, queued payments, stock.",
    sections=(_FUNNEL, _MONEY, _QUEUE, _STOCK),
)
