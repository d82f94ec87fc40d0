"""Database spans exist, on both engines, wherever a trace is recorded."""

import pytest
import sqlalchemy as sa
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy.exc import IntegrityError

from shared.chassis.database import Database
from shared.telemetry import statements

notes = sa.Table("notes", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.Text))


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(statements, "_tracer", provider.get_tracer("test"))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


async def test_every_statement_of_a_recorded_trace_is_a_child_span_without_values(
    database_url: str, finished: InMemorySpanExporter
) -> None:
    database = Database(database_url)
    async with database.upgrade() as connection:
        await connection.run_sync(notes.metadata.create_all)
    assert not finished.get_finished_spans()
    with trace.get_tracer_provider().get_tracer("test").start_as_current_span("request") as request:

        def add(connection: sa.Connection) -> None:
            connection.execute(notes.insert(), {"id": 1, "text": "a secret value"})

        await database.transact(add)
        async with database.write() as connection:
            await connection.execute(notes.update().values(text="another secret value"))
        async with database.read() as connection:
            await connection.execute(sa.select(notes))
        with pytest.raises(IntegrityError):
            await database.transact(add)
    await database.close()
    spans = [span for span in finished.get_finished_spans() if span.name != "request"]
    assert [span.name for span in spans] == ["INSERT notes", "UPDATE notes", "SELECT notes", "INSERT notes"]
    assert {span.parent.span_id for span in spans} == {request.get_span_context().span_id}
    assert {span.kind for span in spans} == {SpanKind.CLIENT}
    assert [span.status.status_code for span in spans] == [StatusCode.UNSET] * 3 + [StatusCode.ERROR]
    assert {span.attributes["db.system.name"] for span in spans} == {database.url.get_backend_name()}
    assert not any("secret value" in span.to_json() for span in spans)


async def test_statements_outside_a_trace_make_no_spans(database_url: str, finished: InMemorySpanExporter) -> None:
    database = Database(database_url)
    await database.ping()
    await database.close()
    assert not finished.get_finished_spans()
