"""Approvals over HTTP: who may, what is answered, and what is too late."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from ml.remediation.api import create_app
from tests.unit.ml.remediation.platform import Platform

KNOWN = {"authorization": "Bearer secret"}
YES = {"decision": "approve", "by": "ada"}


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    platform = Platform(tmp_path, mode="approve")
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    yield platform
    platform.end()


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(platform.remediator, platform.approvals, platform.metrics, "secret")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://remediation") as client:
        yield client


async def test_a_question_is_shown_and_a_yes_is_done_in_the_next_minute(
    platform: Platform, client: httpx.AsyncClient
) -> None:
    (question,) = (await client.get("/approvals", headers=KNOWN)).json()
    assert question["action"] == "scale payment from 2 to 3 replicas"
    assert (question["state"], question["prediction"]["probability"]) == ("waiting", 0.8)
    answer = await client.post(f"/approvals/{question['id']}", json=YES, headers=KNOWN)
    assert (answer.status_code, answer.json()["state"]) == (200, "approved")
    assert platform.replicas.calls == []
    await platform.minutes(1)
    assert platform.replicas.calls == [("scale", "payment", 2, 3)]
    again = await client.post(f"/approvals/{question['id']}", json=YES, headers=KNOWN)
    assert again.status_code == 409


@pytest.mark.parametrize("token", ["", "Bearer ", "Bearer wrong", "secret", "Bearer s\u00e9cret"])
async def test_without_the_token_nothing_is_shown_or_taken(
    platform: Platform, client: httpx.AsyncClient, token: str
) -> None:
    headers = {"authorization": token.encode()} if token else {}
    (question,) = platform.approvals.all()
    for answer in (
        await client.get("/approvals", headers=headers),
        await client.get("/state", headers=headers),
        await client.post(f"/approvals/{question.id}", json=YES, headers=headers),
    ):
        assert answer.status_code == 401
    assert question.answer == "waiting"


async def test_a_question_that_is_unknown_expired_or_badly_answered_is_refused(
    platform: Platform, client: httpx.AsyncClient
) -> None:
    (question,) = platform.approvals.all()
    assert (await client.post("/approvals/none", json=YES, headers=KNOWN)).status_code == 404
    for bad in ({}, {"decision": "maybe", "by": "ada"}, {"decision": "approve", "by": ""}, YES | {"by": "a\nb"}):
        assert (await client.post(f"/approvals/{question.id}", json=bad, headers=KNOWN)).status_code == 422
    platform.now = question.expires
    assert (await client.post(f"/approvals/{question.id}", json=YES, headers=KNOWN)).status_code == 409


async def test_state_and_numbers_say_what_is_going_on(platform: Platform, client: httpx.AsyncClient) -> None:
    state = (await client.get("/state", headers=KNOWN)).json()
    assert (state["mode"], state["stopped"]) == ("approve", False)
    assert {each["service"]: each["verdict"] for each in state["decisions"]}["payment"] == "propose"
    told = (await client.get("/metrics")).text
    assert 'remediation_actions_total{action="scale",mode="approve",outcome="asked",service="payment"} 1.0' in told


def test_an_empty_token_is_refused(tmp_path: Path) -> None:
    platform = Platform(tmp_path)
    with pytest.raises(ValueError, match="empty token"):
        create_app(platform.remediator, platform.approvals, platform.metrics, "")
    platform.end()


async def test_the_kill_switch_can_be_thrown_and_taken_back_by_who_has_the_token(
    platform: Platform, client: httpx.AsyncClient
) -> None:
    (question,) = platform.approvals.all()
    assert (await client.put("/kill-switch", json={"thrown": True})).status_code == 401
    thrown = await client.put("/kill-switch", json={"thrown": True}, headers=KNOWN)
    assert thrown.json() == {"stopped": True, "kill_switch": True}
    await client.post(f"/approvals/{question.id}", json=YES, headers=KNOWN)
    await platform.minutes(1)
    assert platform.replicas.calls == []
    back = await client.put("/kill-switch", json={"thrown": False}, headers=KNOWN)
    assert back.json() == {"stopped": False, "kill_switch": False}


async def test_the_audit_says_what_was_done_why_and_by_whom(platform: Platform, client: httpx.AsyncClient) -> None:
    (question,) = platform.approvals.all()
    await client.post(f"/approvals/{question.id}", json=YES, headers=KNOWN)
    await platform.minutes(1)
    await platform.acting.settled()
    (line, *_) = (await client.get("/audit", headers=KNOWN, params={"limit": 1})).json()
    assert (line["id"], line["action"], line["outcome"]) == (question.id, "scale payment from 2 to 3 replicas", "done")
    assert (line["approved_by"], line["reason"]) == ("ada", "approved")
    assert "payment is 80% likely to fail" in line["cause"]
