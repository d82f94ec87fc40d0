"""The load's command, run as people run it, against a small server on this machine."""

import asyncio
import json
import signal
import sys
from pathlib import Path

from infra.local.settings import ROOT


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Confirms every order; has no catalogue."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
            await reader.readexactly(length)
            status, body = (201, b'{"id":"ord_1","state":"CONFIRMED"}') if head.startswith("post") else (404, b"{}")
            writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()


async def run(url: str, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.load", "--url", url, "--inventory-url", url, *words,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def test_a_load_ends_by_itself_with_a_summary_for_people_and_one_for_programs(tmp_path: Path) -> None:
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        answers = tmp_path / "answers.jsonl"
        process = await run(url, "--rate", "60", "--seconds", "1", "--json", "-", "--answers", str(answers))
        out, err = await asyncio.wait_for(process.communicate(), 30)
    summary = json.loads(out)
    assert process.returncode == 0
    assert summary["outcomes"] == [{"status": 201, "meaning": "confirmed", "count": summary["orders"]}]
    assert len(answers.read_text().splitlines()) == summary["orders"] > 20
    assert "No catalogue at" in err.decode()
    assert "confirmed" in err.decode()


async def test_an_interrupt_ends_the_load_with_its_summary() -> None:
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        process = await run(url, "--rate", "50", "--seconds", "3600", "--json", "-")
        assert process.stderr is not None
        while b"About" not in await asyncio.wait_for(process.stderr.readline(), 30):
            pass
        process.send_signal(signal.SIGINT)
        out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 130
    assert json.loads(out)["seconds"] == 3600


async def test_a_load_ends_when_whoever_began_it_is_gone(tmp_path: Path) -> None:
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        command = [sys.executable, "-m", "infra.load", "--url", url, "--inventory-url", url, "--rate", "50"]
        process = await asyncio.create_subprocess_exec(
            *command, "--seconds", "3600", "--stop-with-parent", cwd=ROOT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        assert process.stdin is not None
        while b"About" not in await asyncio.wait_for(process.stderr.readline(), 30):
            pass
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 30) == 130


async def test_a_load_that_nobody_answers_fails(tmp_path: Path) -> None:
    process = await run("http://127.0.0.1:1", "--rate", "20", "--seconds", "0.5", "--attempts", "1", "--json", "-")
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert {outcome["meaning"] for outcome in json.loads(out)["outcomes"]} == {"not-reachable"}
