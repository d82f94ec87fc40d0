"""Grafana's dashboards, drawn without Grafana: their JSON files, with the panels' queries answered by Prometheus."""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from services.control_room.page.web import Away, Web

_POINTS = 120
_AT_ONCE = 4
_KEPT_SECONDS = 5.0
_KEPT = 16
_MOST_SERIES = 40
_ALL = "$__all"
RANGES = (300, 900, 3600, 6 * 3600, 24 * 3600)


class Dashboards:
    """Reads the files once; asks Prometheus when somebody looks, and keeps an answer for a few seconds."""

    def __init__(
        self,
        web: Web,
        directory: Path | None,
        prometheus_url: str,
        scrape_seconds: float,
        *,
        now: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._web, self._directory, self._url = web, directory, prometheus_url
        self._scrape, self._now, self._monotonic = scrape_seconds, now, monotonic
        self._files: dict[str, dict[str, Any]] = {}
        self._kept: dict[tuple[Any, ...], tuple[float, asyncio.Future[dict[str, Any]]]] = {}
        self._few = asyncio.Semaphore(_AT_ONCE)

    async def names(self) -> list[dict[str, str]]:
        """Every dashboard: `{"name", "title"}`. Raises `Away`."""
        if self._directory is None:
            raise Away("no directory of dashboards is configured")
        if not self._files:
            self._files = await asyncio.to_thread(_read_all, self._directory)
        return [{"name": name, "title": str(each["title"])} for name, each in self._files.items()]

    async def draw(self, name: str, seconds: int, chosen: Mapping[str, str]) -> dict[str, Any]:
        """A dashboard's panels with their data over the last `seconds`. Raises `Away`, KeyError for an unknown name."""
        await self.names()
        dashboard = self._files[name]
        if not self._url:
            raise Away("no Prometheus is configured: dashboards have nothing to show")
        key = (name, seconds, *sorted(chosen.items()))
        found = self._kept.get(key)
        if found is None or found[0] < self._monotonic():
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            asked = asyncio.ensure_future(self._draw(dashboard, seconds, chosen))
            asked.add_done_callback(_notice)  # whoever asked may be gone
            self._kept[key] = found = (self._monotonic() + _KEPT_SECONDS, asked)
        return await asyncio.shield(found[1])

    async def _draw(self, dashboard: Mapping[str, Any], seconds: int, chosen: Mapping[str, str]) -> dict[str, Any]:
        variables = await self._variables(dashboard, chosen)
        values = {each["name"]: each["asked"] for each in variables}
        step = max(self._scrape, seconds / _POINTS)
        values |= {
            "__rate_interval": f"{max(4 * self._scrape, step):.0f}s",
            "__range": f"{seconds}s",
            "__interval": f"{step:.0f}s",
        }
        end = self._now()
        span = {"start": f"{end - seconds:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        panels = await asyncio.gather(*(self._panel(panel, values, span) for panel in dashboard["panels"]))
        return {
            "title": dashboard["title"],
            "description": dashboard.get("description", ""),
            "variables": variables,
            "start": end - seconds,
            "end": end,
            "panels": panels,
        }

    async def _variables(self, dashboard: Mapping[str, Any], chosen: Mapping[str, str]) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = []
        for variable in dashboard.get("templating", {}).get("list", []):
            values = {each["name"]: each["asked"] for each in listed}
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", filled_in(variable["query"], values))
            offered: list[str] = []
            if match is not None:
                url = f"{self._url}/api/v1/label/{match[2]}/values"
                offered = list((await self._web.get(url, {"match[]": match[1]}))["data"])
            current = chosen.get(variable["name"]) or variable["current"]["value"]
            every = bool(variable.get("includeAll"))
            if current not in offered and not (every and current == _ALL):
                current = _ALL if every else (offered or [""])[0]
            asked = variable.get("allValue", ".*") if current == _ALL else re.escape(current)
            options = ([_ALL] if every else []) + offered
            label = variable.get("label") or variable["name"]
            listed.append(
                {"name": variable["name"], "label": label, "options": options, "value": current, "asked": asked}
            )
        return listed

    async def _panel(self, panel: Mapping[str, Any], values: Mapping[str, str], span: dict[str, str]) -> dict[str, Any]:
        defaults = panel.get("fieldConfig", {}).get("defaults", {})
        shown: dict[str, Any] = {
            "id": panel["id"],
            "title": panel["title"],
            "description": panel.get("description", ""),
            "type": panel["type"],
            "grid": panel["gridPos"],
            "unit": defaults.get("unit", "none"),
            "steps": defaults.get("thresholds", {}).get("steps", []),
            "words": _words(defaults.get("mappings", [])),
            "stacked": defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal",
            "away": "",
        }
        if panel["type"] == "row":
            return shown
        try:
            answers = [await self._target(target, values, span) for target in panel["targets"]]
        except Away as away:
            return shown | {"away": str(away)}
        if panel["type"] == "table":
            return shown | table(panel, answers)
        series = [
            each for target, found in zip(panel["targets"], answers, strict=True) for each in _named(target, found)
        ]
        return shown | {"series": series[:_MOST_SERIES], "left_out": max(0, len(series) - _MOST_SERIES)}

    async def _target(self, target: Mapping[str, Any], values: Mapping[str, str], span: dict[str, str]) -> list[Any]:
        query = {"query": filled_in(target["expr"], values), "timeout": "8s"}
        path = "query" if target.get("instant") else "query_range"
        async with self._few:
            status, body = await self._web.ask(
                "POST", f"{self._url}/api/v1/{path}", data=query | ({} if target.get("instant") else span), seconds=8.0
            )
        if status != 200 or not isinstance(body, dict):
            said = body.get("error", "") if isinstance(body, dict) else ""
            raise Away(f"Prometheus answers HTTP {status} {said}"[:200])
        return list(body["data"]["result"])


def _notice(drawn: "asyncio.Future[dict[str, Any]]") -> None:
    if not drawn.cancelled():
        drawn.exception()


def filled_in(text: str, values: Mapping[str, str]) -> str:
    """`$name` and `${name}` replaced, as Grafana does; what is no variable, such as `$1`, stays."""
    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", lambda match: values.get(match[1] or match[2], match[0]), text)


def legend(form: str, labels: Mapping[str, str]) -> str:
    """A series' name: Grafana's `{{label}}` filled in, or the labels when nothing was chosen."""
    if form == "__auto" or not form:
        told = [value for name, value in labels.items() if name != "__name__"]
        return " ".join(told) or labels.get("__name__", "value")
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), form)


def table(panel: Mapping[str, Any], answers: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The rows of several instant queries side by side, as Grafana's `merge` and `organize` make them."""
    options: Mapping[str, Any] = {}
    for change in panel.get("transformations", []):
        if change["id"] == "organize":
            options = change["options"]
    names = options.get("renameByName", {})
    rows: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    many = len(answers) > 1
    for target, found in zip(panel["targets"], answers, strict=True):
        column = f"Value #{target['refId']}" if many else "Value"
        for series in found:
            key = tuple(sorted((name, value) for name, value in series["metric"].items() if name != "__name__"))
            rows.setdefault(key, {})[column] = _number(series["value"][1])
    columns = [{"key": key, "title": title, **_styled(panel, title)} for key, title in names.items()]
    return {"columns": columns, "rows": [dict(key) | values for key, values in sorted(rows.items())]}


def _styled(panel: Mapping[str, Any], title: str) -> dict[str, Any]:
    for override in panel["fieldConfig"].get("overrides", []):
        if override["matcher"]["options"] == title:
            told = {each["id"]: each["value"] for each in override["properties"]}
            steps = told.get("thresholds", {}).get("steps", [])
            return {"unit": told.get("unit", "none"), "steps": steps, "words": _words(told.get("mappings", []))}
    return {"unit": "", "steps": [], "words": {}}


def _named(target: Mapping[str, Any], found: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": legend(target.get("legendFormat", ""), series["metric"]),
            "points": [[at, _number(value)] for at, value in series.get("values") or [series["value"]]],
        }
        for series in found
    ]


def _number(text: str) -> float:
    value = float(text)
    return value if abs(value) != float("inf") else float("nan")  # JSON has neither; the page says there is none


def _words(mappings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: {"text": each["text"], "color": each.get("color", "")}
            for mapping in mappings for key, each in mapping["options"].items()}  # fmt: skip


def _read_all(directory: Path) -> dict[str, dict[str, Any]]:
    try:
        found = {path.stem: orjson.loads(path.read_bytes()) for path in sorted(directory.glob("*.json"))}
    except (OSError, orjson.JSONDecodeError) as error:
        raise Away(f"the dashboards cannot be read: {error}") from None
    if not found:
        raise Away(f"there are no dashboards in {directory}")
    return found
