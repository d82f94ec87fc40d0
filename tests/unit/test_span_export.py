"""The export of spans: never in the way, bounded, counted, and back by itself."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, Tracer
from prometheus_client import CollectorRegistry

from shared.chassis.problems import Problem
from shared.telemetry.export import SpanExport, destination
from shared.telemetry.tracing import operation
from tests.fixtures.waiting import until


class Receiver:
    """A receiver that answers as it is told, and keeps what it took."""

    def __init__(self) -> None:
        self.status, self.requests, self.authorizations, self.spans = 200, 0, set(), []
        self.connections = 0
        self.hold = threading.Event()
        self.hold.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                receiver.connections += 1
                super().setup()

            def finish(self) -> None:
                super().finish()
                receiver.connections -= 1

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.requests += 1
                receiver.authorizations.add((self.path, self.headers["authorization"]))
                receiver.hold.wait(10)
                if receiver.status == 200:
                    for scoped in body["resourceSpans"][0]["scopeSpans"]:
                        receiver.spans += scoped["spans"]
                self.send_response(receiver.status)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def names(self) -> list[str]:
        return [span["name"] for span in self.spans]


class Service:
    """What exports, until the receiver of the test goes."""

    running: ClassVar[list["Service"]] = []

    def __init__(self, url: str, **options: Any) -> None:
        self.running.append(self)
        self.metrics = CollectorRegistry()
        resource = Resource({"service.name": "order"})
        to = destination(url, {"authorization": "Bearer a-token"})
        self.export = SpanExport(to, resource, self.metrics, **{"interval": 0.02, "max_queue": 1_000, **options})
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_span_processor(self.export)
        self.tracer: Tracer = self.provider.get_tracer("test")

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.get_sample_value(name, labels) or 0.0

    def make(self, *names: str) -> None:
        for name in names:
            self.tracer.start_span(name).end()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.hold.set()
    while Service.running:
        Service.running.pop().provider.shutdown()
    made.server.shutdown()
    made.server.server_close()


def test_spans_arrive_with_all_that_is_in_them_and_the_senders_token(receiver: Receiver) -> None:
    service = Service(receiver.url)
    with service.tracer.start_as_current_span("parent", kind=SpanKind.SERVER) as parent:
        linked = parent.get_span_context()
        attributes = {"text": "words", "n": 7, "share": 0.5, "yes": True, "list": ["a", "b"], "huge": 2**70}
        with service.tracer.start_as_current_span("child", attributes=attributes, links=[Link(linked)]) as child:
            child.add_event("Inventory reserved", {"n": 1})
            child.set_status(Status(StatusCode.ERROR, "it failed"))
    until(lambda: len(receiver.spans) == 2)
    [made, root] = sorted(receiver.spans, key=lambda span: span["name"])
    assert receiver.authorizations == {("/v1/traces", "Bearer a-token")}
    assert made["parentSpanId"] == root["spanId"]
    assert "parentSpanId" not in root
    assert (made["traceId"], root["kind"]) == (f"{linked.trace_id:032x}", 2)
    assert {each["key"]: each["value"] for each in made["attributes"]} == {
        "text": {"stringValue": "words"},
        "n": {"intValue": "7"},
        "share": {"doubleValue": 0.5},
        "yes": {"boolValue": True},
        "list": {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}},
        "huge": {"stringValue": str(2**70)},
    }
    assert made["status"] == {"code": 2, "message": "it failed"}
    assert made["events"][0]["name"] == "Inventory reserved"
    assert made["links"] == [{"traceId": f"{linked.trace_id:032x}", "spanId": f"{linked.span_id:016x}"}]
    until(lambda: service.count("otlp_spans_exported_total") == 2)


def test_a_text_that_is_not_unicode_costs_no_span(receiver: Receiver) -> None:
    service = Service(receiver.url)
    service.tracer.start_span("odd", attributes={"path": "/\ud800"}).end()
    service.make("plain")
    until(lambda: sorted(receiver.names) == ["odd", "plain"])


def test_spans_that_are_not_sampled_are_not_exported(receiver: Receiver) -> None:
    service = Service(receiver.url)
    TracerProvider(sampler=ALWAYS_OFF).get_tracer("off").start_span("unsampled").end()
    service.make("sampled")
    until(lambda: receiver.names == ["sampled"])


def test_a_receiver_that_is_away_fills_the_queue_costs_no_time_and_gets_what_waited_when_it_is_back(
    receiver: Receiver,
) -> None:
    receiver.status = 503
    service = Service(receiver.url, max_queue=100, batch=40)
    until(lambda: not service.make("early") and receiver.requests > 0)
    already = service.count("otlp_export_queue_spans")
    began = time.perf_counter()
    service.make(*["later"] * 1_000)
    assert time.perf_counter() - began < 5
    assert service.count("otlp_export_queue_spans") == 100
    assert service.count("otlp_export_dropped_spans_total", reason="queue_full") == 1_000 - (100 - already)
    receiver.status = 200
    until(lambda: len(receiver.spans) == 100)
    assert receiver.names.count("later") == 100 - already
    service.make("after")
    until(lambda: "after" in receiver.names)
    assert service.count("otlp_export_failures_total") >= 1


def test_a_receiver_that_hangs_blocks_nobody(receiver: Receiver) -> None:
    receiver.hold.clear()
    service = Service(receiver.url, max_queue=50, batch=10)
    until(lambda: not service.make("one") and receiver.requests > 0)
    began = time.perf_counter()
    service.make(*["more"] * 500)
    assert time.perf_counter() - began < 5
    assert service.count("otlp_export_dropped_spans_total", reason="queue_full") >= 400


def test_nobody_listening_is_survived(receiver: Receiver) -> None:
    port = receiver.server.server_port
    receiver.server.shutdown()
    receiver.server.server_close()
    service = Service(f"http://127.0.0.1:{port}")
    service.make("lost")
    until(lambda: service.count("otlp_export_failures_total") >= 1)
    assert service.count("otlp_export_queue_spans") == 1


def test_what_the_receiver_refuses_for_good_is_dropped_and_counted(receiver: Receiver) -> None:
    receiver.status = 401
    service = Service(receiver.url)
    service.make("refused")
    until(lambda: service.count("otlp_export_dropped_spans_total", reason="refused") == 1)
    assert service.count("otlp_export_queue_spans") == 0


def test_shutting_down_exports_what_waits(receiver: Receiver) -> None:
    service = Service(receiver.url, interval=60)
    service.make("last")
    service.provider.shutdown()
    assert receiver.names == ["last"]
    service.make("too late")
    assert receiver.names == ["last"]
    until(lambda: receiver.connections == 0)


@pytest.mark.parametrize("endpoint", ["", "collector:4318", "https://host", "http://", "http://me:pw@host", "ftp://x"])
def test_an_endpoint_that_is_no_http_address_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        destination(endpoint, {})


def test_the_endpoint_may_have_a_path_and_needs_no_port() -> None:
    assert destination("http://[::1]/otlp/", {})[:2] == ("[::1]:4318", "/otlp/v1/traces")


def test_an_error_is_recorded_without_card_numbers_and_an_outcome_is_no_error(receiver: Receiver) -> None:
    service = Service(receiver.url)
    with pytest.raises(ValueError, match="card"), operation(service.tracer, "failed"):
        raise ValueError("card 4242 4242 4242 4242 does not work")
    with pytest.raises(Problem), operation(service.tracer, "declined"):
        raise Problem(402, "card-declined", "Declined")
    with pytest.raises(Problem), operation(service.tracer, "unavailable"):
        raise Problem(503, "inventory-unavailable", "Unavailable")
    until(lambda: len(receiver.spans) == 3)
    by_name = {span["name"]: span for span in receiver.spans}
    assert by_name["failed"]["status"] == {"code": 2, "message": "ValueError"}
    event = {each["key"]: each["value"]["stringValue"] for each in by_name["failed"]["events"][0]["attributes"]}
    assert event == {"exception.type": "ValueError", "exception.message": "card [removed] does not work"}
    assert "status" not in by_name["declined"]
    assert by_name["unavailable"]["status"]["code"] == 2
