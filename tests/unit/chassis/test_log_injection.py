"""What somebody sends is in the log, where it explains an error; it never becomes a line of its own there."""

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from shared.telemetry.logs import _render
from tests.unit.chassis.shop import Shop, failing

FORGED = [
    '\n{"event":"forged","level":"info"}',
    '"}\r\n{"event":"forged"}',
    "\x1b[2J\x1b[31mforged\x1b]0;title\x07",
    "\u2028\u2029\x85\x0b\x0c\x00\x7f\ud800",
]


@pytest.mark.parametrize("forged", FORGED)
async def test_what_a_customer_sends_stays_inside_its_line_of_the_log(
    shop: Shop, logged: list[dict[str, Any]], forged: str
) -> None:
    shop.behave = failing(LookupError(f"no customer {forged}"))
    transport = httpx.ASGITransport(shop.app, raise_app_exceptions=False)
    raw = forged.encode("utf-8", "surrogatepass")
    headers = [(b"traceparent", raw), (b"x-experiment-id", raw), (b"idempotency-key", raw), (b"user-agent", raw)]
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as http:
        answer = await http.get(f"/anything?q={quote(raw)}", headers=headers)
        assert answer.status_code == 500
        assert (await http.get(f"/names/{quote(raw)}", headers=headers)).status_code in (200, 404, 422)
        basket = json.dumps({"customer": forged, "items": []})
        assert (await http.post("/baskets", content=basket, headers=headers)).status_code == 422
    assert logged, "an error of ours is logged"
    for record in logged:
        line = _render(None, "error", dict(record))
        assert not {*b"\n\r\x1b\x00\x07"} & {*line}, "bytes that a terminal or a reader of lines would act on"
        assert json.loads(line)["event"] == record["event"] != "forged"
