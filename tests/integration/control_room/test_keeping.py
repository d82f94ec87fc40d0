"""Which traces are kept, and for how long."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa

from shared.chassis.database import DatabaseUnavailable
from tests.integration.control_room.room import Room, control_room, new_trace, request, span

IN_SHARE, OUTSIDE = "ffffffffffffff", "00000000000000"
"""Ends of trace ids that any share, or none below all, takes in."""
STRICT = {"trace_share": 0.1, "trace_floor": 0.0}


async def is_kept(room: Room, trace_id: str) -> bool:
    return (await room.http.get(f"/api/traces/{trace_id}")).status_code == 200


async def test_of_ordinary_traces_only_the_share_is_kept(tmp_path: Path) -> None:
    inside, outside = new_trace(IN_SHARE), new_trace(OUTSIDE)
    async with control_room(tmp_path, **STRICT) as room:
        await room.keep(span(inside), span(outside))
        assert (await is_kept(room, inside), await is_kept(room, outside)) == (True, False)
        assert await room.metric("otlp_spans_sampled_out_total") == 1
        assert room.intake.waiting == 0


async def test_the_share_holds_over_many_traces(tmp_path: Path) -> None:
    async with control_room(tmp_path, **STRICT) as room:
        await room.keep(*(span(new_trace()) for _ in range(3_000)))
        assert 220 <= await room.metric("otlp_spans_stored_total") <= 380


@pytest.mark.parametrize("telling", [{"status": {"code": 2}}, {"ms": 1_000}])
async def test_a_trace_with_an_error_or_a_slow_span_is_kept_whole(tmp_path: Path, telling: dict) -> None:
    trace_id = new_trace(OUTSIDE)
    async with control_room(tmp_path, **STRICT) as room:
        await room.send(request(span(trace_id)))
        await room.send(request(span(trace_id, "00000000000000b2", "00000000000000a1", **telling), service="payment"))
        await room.keep(span(trace_id, "00000000000000c3", "00000000000000a1"), service="inventory")
        [trace] = await room.get(f"traces/{trace_id}")
    assert len(trace["spans"]) == 3


async def test_nothing_is_decided_before_the_wait_is_over(tmp_path: Path) -> None:
    trace_id = new_trace(IN_SHARE)
    async with control_room(tmp_path, **STRICT, decision_seconds=2) as room:
        await room.send(request(span(trace_id)))
        room.time.seconds += 1.9
        await room.intake.work()
        assert not await is_kept(room, trace_id)
        room.time.seconds += 0.2
        await room.intake.work()
        assert await is_kept(room, trace_id)


async def test_a_quiet_platform_shows_every_trace_and_a_busy_one_the_floor(tmp_path: Path) -> None:
    async with control_room(tmp_path, trace_share=0.0, trace_floor=3.0) as room:
        quiet = [new_trace(OUTSIDE) for _ in range(5)]
        for trace_id in quiet:
            await room.keep(span(trace_id))
        assert all([await is_kept(room, trace_id) for trace_id in quiet])
        room.time.seconds += 60
        await room.keep(*(span(new_trace(OUTSIDE)) for _ in range(100)))
        assert await room.metric("otlp_spans_stored_total") == 5 + 6


async def test_two_that_work_at_once_store_each_span_once(tmp_path: Path) -> None:
    async with control_room(tmp_path, trace_share=1.0) as room:
        await room.send(request(*(span(new_trace()) for _ in range(50))))
        room.time.seconds += 3
        await asyncio.gather(*(room.intake.work() for _ in range(4)))
        assert (await room.metric("otlp_spans_stored_total"), room.intake.waiting) == (50, 0)


async def test_spans_that_come_late_follow_the_decision_and_an_error_turns_it(tmp_path: Path) -> None:
    kept, dropped = new_trace(IN_SHARE), new_trace(OUTSIDE)
    async with control_room(tmp_path, **STRICT) as room:
        await room.keep(span(kept), span(dropped))
        await room.keep(span(kept, "00000000000000b2"), span(dropped, "00000000000000b2"))
        assert len((await room.get(f"traces/{kept}"))[0]["spans"]) == 2
        assert not await is_kept(room, dropped)
        await room.keep(span(dropped, "00000000000000c3", status={"code": 2}))
        assert await is_kept(room, dropped)


async def test_a_trace_that_was_kept_before_a_restart_goes_on_after_it(tmp_path: Path) -> None:
    trace_id = new_trace(OUTSIDE)
    async with control_room(tmp_path, **STRICT) as room:
        await room.keep(span(trace_id, status={"code": 2}))
    async with control_room(tmp_path, **STRICT) as room:
        await room.keep(span(trace_id, "00000000000000b2"))
        [trace] = await room.get(f"traces/{trace_id}")
    assert len(trace["spans"]) == 2


async def test_traces_over_the_number_of_spans_go_the_oldest_first(tmp_path: Path) -> None:
    ids = [new_trace() for _ in range(6)]
    async with control_room(tmp_path, retention_spans=8) as room:
        for trace_id in ids:
            await room.keep(span(trace_id), span(trace_id, "00000000000000b2"))
        await room.intake.prune()
        assert [await is_kept(room, trace_id) for trace_id in ids] == [False, False, True, True, True, True]
        assert await room.metric("trace_store_spans") == 8


async def test_traces_over_the_size_go_the_oldest_first(tmp_path: Path) -> None:
    ids = [new_trace() for _ in range(6)]
    large = [{"key": "text", "value": {"stringValue": "x" * 2_000}}]
    async with control_room(tmp_path, retention_mb=0.01) as room:
        for trace_id in ids:
            await room.keep(span(trace_id, attributes=large))
        await room.intake.prune()
        kept = [await is_kept(room, trace_id) for trace_id in ids]
        assert kept == sorted(kept)
        assert 2 <= sum(kept) < 6
        assert await room.metric("trace_store_bytes") <= 10_000


async def test_however_many_traces_are_asked_for_and_forgotten_at_a_time_statements_stay_few(tmp_path: Path) -> None:
    statements: set[str] = set()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.add(statement)

    async with control_room(tmp_path) as room:
        for engine in room.database.sync_engines:
            sa.event.listen(engine, "before_cursor_execute", note)
        for count in range(1, 41):
            ids = [new_trace(OUTSIDE) for _ in range(count)]
            await room.keep(*(span(trace_id) for trace_id in ids))
            assert await room.store.stored(ids) == set(ids)
            room.time.seconds += 4_000
            await room.store.prune()
            assert await room.store.stored(ids) == set()
    assert sum("WHERE traces.id IN" in text for text in statements) <= 2 * 7  # 1, 2, 4, ... 64: looked for and deleted
    assert sum("WHERE spans.trace_id IN" in text for text in statements) <= 7


async def test_more_traces_than_one_statement_takes_are_looked_for(tmp_path: Path) -> None:
    ids = [new_trace(IN_SHARE) for _ in range(1_300)]
    async with control_room(tmp_path, **STRICT) as room:
        await room.keep(*(span(trace_id) for trace_id in ids))
        assert await room.store.stored([*ids, new_trace()]) == set(ids)


async def test_traces_that_are_too_old_go_with_the_services_that_only_they_named(tmp_path: Path) -> None:
    old, young = new_trace(), new_trace()
    async with control_room(tmp_path, retention_hours=1) as room:
        await room.keep(span(old), service="gone")
        room.time.seconds += 3_500
        await room.keep(span(young))
        room.time.seconds += 200
        await room.intake.prune()
        assert (await is_kept(room, old), await is_kept(room, young)) == (False, True)
        assert await room.get("services") == ["order"]


async def test_what_cannot_be_stored_waits_within_the_bound_and_is_stored_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace_id = new_trace()
    async with control_room(tmp_path, queue_spans=2) as room:
        await room.send(request(span(trace_id)))
        room.time.seconds += 3

        async def away(_arrivals: object) -> int:
            raise DatabaseUnavailable("away")

        with monkeypatch.context() as patch:
            patch.setattr(room.intake._store, "store", away)
            with pytest.raises(DatabaseUnavailable):
                await room.intake.work()
        assert (await room.send(request(span(new_trace()), span(new_trace())))).status_code == 503
        await room.intake.work()
        assert await is_kept(room, trace_id)
        assert room.intake.waiting == 0


async def test_the_writer_works_by_itself(tmp_path: Path) -> None:
    trace_id = new_trace()
    async with control_room(tmp_path) as room:
        await room.send(request(span(trace_id)))
        room.time.seconds += 3
        await asyncio.wait_for(room.emptied(), 10)
        assert await is_kept(room, trace_id)
