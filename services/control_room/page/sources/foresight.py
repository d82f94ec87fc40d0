"""What is predicted, and what is done about it: the sidecar's answers, and the remediator's, which needs the token."""

from typing import Any, Literal

from services.control_room.page.web import NOBODY, Away, Web

_RECORDS = 20
_DRIFTING = 5
_UNDER_WAY = ("asked", "begun")
_FIGURES = ("event_recall", "calibration_error", "brier_skill")
_BY = "operator at the page"


class Refused(Exception):
    """The remediator said no; `status` is HTTP's, the text its reason."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Predictor:
    """Asks the sidecar. `command` is what starts it."""

    def __init__(self, web: Web, url: str, command: str = "make predictor") -> None:
        self._web, self._url, self._command = web, url, command

    async def predictions(self) -> list[dict[str, Any]]:
        """One for each service, as the sidecar tells them. Raises `Away`."""
        found = await self._get("/predictions")
        shown = ("service", "at", "state", "probability", "threshold", "why", "reasons", "missing", "model")
        return [{name: each.get(name) for name in shown} for each in found["predictions"]]

    async def model(self) -> dict[str, Any]:
        """The model in use, its figures, and the features that have drifted most. Raises `Away`."""
        found = await self._get("/model")
        shown = ("name", "created", "sha256", "threshold", "persistence", "features", "calibration_error")
        drift = sorted(found["drift"].items(), key=lambda each: -float(each[1]))
        return {name: found.get(name) for name in shown} | {
            "figures": _figures(found["metrics"]),
            "drift": [{"feature": name, "index": round(float(value), 3)} for name, value in drift[:_DRIFTING]],
        }

    async def _get(self, path: str) -> Any:
        return await _asked(self._web, self._url, path, "The predictor", self._command)


class Remediator:
    """Asks what acts on predictions, with the admin token, and hands on a person's word. `command` starts it."""

    def __init__(self, web: Web, url: str, command: str = "make remediate") -> None:
        self._web, self._url, self._command = web, url, command

    async def read(self) -> dict[str, Any]:
        """`state`'s fields, with `approvals` and `audit`, the newest first. Raises `Away`."""
        state: dict[str, Any] = await self._get("/state")
        questions, records = await self._get("/approvals"), await self._get(f"/audit?limit={_RECORDS}")
        under_way = {each["id"] for each in records if each["stage"] in _UNDER_WAY}
        pending = [
            _question(each)
            for each in questions
            if each["state"] == "waiting" or (each["state"] == "approved" and each["id"] in under_way)
        ]
        return state | {"approvals": pending[:_RECORDS], "audit": records}

    async def answer(self, question: str, decision: Literal["approve", "deny"]) -> dict[str, Any]:
        """A person's word. Raises `Away`, `Refused`."""
        return await self._send("POST", f"/approvals/{question}", {"decision": decision, "by": _BY})

    async def throw(self, *, thrown: bool) -> dict[str, Any]:
        """Throw the kill switch, or take it back. Raises `Away`, `Refused`."""
        return await self._send("PUT", "/kill-switch", {"thrown": thrown})

    async def _get(self, path: str) -> Any:
        return await _asked(self._web, self._url, path, "Remediation", self._command, admin=True)

    async def _send(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if not self._url:
            raise Away("nothing that acts on predictions is configured here")
        status, answer = await self._web.ask(method, f"{self._url}{path}", json=body, admin=True)
        told = answer if isinstance(answer, dict) else {}
        if status >= 400:
            raise Refused(status, str(told.get("detail") or f"HTTP {status}")[:300])
        return told


async def _asked(web: Web, url: str, path: str, who: str, command: str, *, admin: bool = False) -> Any:
    if not url:
        raise Away(f"{who} does not run beside this page: {command}")
    try:
        return await web.get(f"{url}{path}", admin=admin)
    except Away as away:
        if str(away) == NOBODY:
            raise Away(f"{who} is not running at {url}: {command}") from None
        raise Away(f"{who}: {away}") from None


def _figures(metrics: dict[str, Any]) -> dict[str, float]:
    """What the training measured, by name; an estimate is told by its value, a group of them one by one."""
    found: dict[str, float] = {}
    for name in _FIGURES:
        told = metrics.get(name)
        group = told if isinstance(told, dict) and "value" not in told else {"": told}
        for part, each in group.items():
            value = each.get("value") if isinstance(each, dict) else each
            if isinstance(value, int | float):
                found[f"{name} {part}".strip().replace("_", " ")] = value
    return found


def _question(told: dict[str, Any]) -> dict[str, Any]:
    shown = ("id", "service", "action", "cause", "asked", "expires", "state", "by")
    reasons = (told.get("prediction") or {}).get("reasons") or []
    return {name: told.get(name) for name in shown} | {"reasons": [each["words"] for each in reasons]}
