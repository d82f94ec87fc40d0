"""The model card: what a signed manifest says of its model, in words. `python -m ml.cards.model` writes it."""

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Any

import orjson

from ml import artefact
from ml.artefact import Manifest
from ml.training.__main__ import MODELS

CARD = "README.md"
_TEMPLATE = Path(__file__).with_name("model.md")


def card(manifest: Manifest) -> str:
    """The card as Markdown."""
    figures = manifest.metrics
    k, n = manifest.persistence
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        digest=manifest.sha256[:12],
        created=manifest.created[:10],
        trained_on=len(manifest.dataset["trained_on"]),
        judged_on=len(manifest.dataset["judged_on"]),
        minute=f"{manifest.dataset['minute_seconds']:g}",
        features=len(manifest.features),
        threshold=f"{manifest.threshold:.2f}",
        k=k,
        n=n,
        origins=len(figures["origins"]),
        areas=_areas(figures["pr_auc"], figures["pr_auc_times"]),
        areas_gradual=_areas(figures["pr_auc_without_abrupt"], figures["pr_auc_without_abrupt_times"]),
        gradual=_interval(figures["event_recall"]["gradual"]),
        abrupt=_interval(figures["event_recall"]["abrupt"]),
        lead=_interval(figures["median_lead_minutes"]),
        in_vain=_interval(figures["in_vain_per_service_day"]),
        alarmed=_share(figures["share_alarmed"]),
        calibration=_interval(figures["calibration_error"]),
        skill=_interval(figures["brier_skill"]),
        kinds=_kinds(figures["alarms"]),
        rules=_rules(figures["rules"]),
        left_out=_left_out(figures["left_out_service"]),
        random_split=_number(figures["tutorial_illusion"]["random split"]),
        in_order=_number(figures["tutorial_illusion"]["in the order of time"]),
    )


def _areas(areas: Mapping[str, Any], times: Mapping[str, Any]) -> str:
    ordered = sorted(areas.items(), key=lambda item: -item[1]["value"])
    rows = ((name, _interval(area), _interval(times[name]) if name in times else "") for name, area in ordered)
    return _table(("who", "PR-AUC", "times"), rows)


def _kinds(alarms: Mapping[str, Any]) -> str:
    rows = (
        (name, str(tally["breaches"]), _share(tally["recall"]), _number(tally["median_lead_minutes"]))
        for name, tally in alarms.items()
    )
    return _table(("fault", "breaches", "warned of", "median lead, minutes"), rows)


def _rules(rules: Mapping[str, Any]) -> str:
    rows = (
        (name, _share(each["gradual_recall"]), _number(each["in_vain_per_service_day"]), _share(each["share_alarmed"]))
        for name, each in rules.items()
    )
    return _table(("rule", "gradual faults warned of", "in vain a service and day", "time with an alarm"), rows)


def _left_out(parts: Mapping[str, Any]) -> str:
    rows = ((name, _number(part["pr_auc"]), _number(part["base_rate"])) for name, part in parts.items())
    return _table(("service never seen in training", "PR-AUC", "base rate"), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _interval(estimate: Mapping[str, Any]) -> str:
    return f"{_number(estimate['value'])} [{_number(estimate['low'])}, {_number(estimate['high'])}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def main() -> int:
    """Write the card beside the model, and print its path."""
    parser = argparse.ArgumentParser(prog="python -m ml.cards.model", description=__doc__)
    parser.add_argument("--models", type=Path, default=MODELS)
    directory = parser.parse_args().models
    manifest = Manifest.model_validate(orjson.loads((directory / artefact.MANIFEST).read_bytes()))
    path = directory / CARD
    path.write_text(card(manifest), encoding="utf-8")
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
