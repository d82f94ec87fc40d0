"""Panels in the few kinds that the dashboards are made of, each with a title, what it says, and a unit.

lines    a value over time             number   the value now, large
states   what state when               bars     a few values side by side
table    one row a set of labels

Queries are PromQL; where a series only exists after something has happened, the query says 0 (`zero`) or, where
nothing can be known, -1 (`unknown`), so that an empty panel always means that something is broken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from infra.grafana.sources import PROMETHEUS, runbook_path

Builder = TypeVar("Builder", timeseries.Panel, stat.Panel, statetimeline.Panel, bargauge.Panel, table.Panel)

GREEN, YELLOW, ORANGE, RED, PURPLE, GREY = "green", "yellow", "orange", "red", "purple", "#808080"
UNKNOWN: dict[float, tuple[str, str]] = {-1: ("unknown", GREY)}
"""The mapping for queries that say -1 where nothing can be known."""

Steps = Sequence[tuple[float, str]]
"""From this value on, this colour; below the first it is green."""
Words = Mapping[float, tuple[str, str]]
"""For a value, the word to show instead, and its colour."""


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression, and what to call its series.

    exemplars: mark single requests on the lines, with a link to their traces; for queries of a histogram's buckets
    """

    expr: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel and its size, in Grafana's grid of 24 columns."""

    model: models.Panel
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class About:
    """What a panel is about.

    alerts: those that this panel explains; it links to their runbooks
    """

    title: str
    description: str
    unit: str
    alerts: Sequence[str] = ()


def zero(expr: str, **labels: str) -> str:
    """`expr`, or 0 when it has no series at all: nothing of the kind has happened."""
    return _instead(expr, 0, labels)


def unknown(expr: str, **labels: str) -> str:
    """`expr`, or -1 when it has no series at all: whoever would measure it does not run."""
    return _instead(expr, -1, labels)


def lines(
    about: About,
    *queries: Query,
    width: int = 8,
    stacked: bool = False,
    steps: Steps = (),
    top: float | None = None,
    words: Words | None = None,
) -> Panel:
    """Values over time; `steps` are drawn as lines across."""
    builder = (
        timeseries.Panel().fill_opacity(12 if stacked else 4).line_width(1).show_points(options.VisibilityMode.NEVER)
    )
    builder.tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI))
    builder.legend(
        common.VizLegendOptions()
        .display_mode(options.LegendDisplayMode.LIST)
        .placement(options.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    if stacked:
        builder.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL).group("A"))
    if steps:
        dashed = options.GraphThresholdsStyleMode.DASHED
        builder.thresholds_style(common.GraphThresholdsStyleConfig().mode(dashed))
    if words is None:
        builder.min(0)
    if top is not None:
        builder.max(top)
    return _finished(builder, about, queries, width, 8, steps=steps, words=words)


def number(
    about: About, *queries: Query, width: int = 4, height: int = 4, steps: Steps = (), words: Words | None = None
) -> Panel:
    """The value now, with its course behind it."""
    builder = stat.Panel().color_mode(options.BigValueColorMode.VALUE).graph_mode(options.BigValueGraphMode.AREA)
    builder.reduce_options(_last()).text_mode(options.BigValueTextMode.AUTO)
    return _finished(builder, about, queries, width, height, steps=steps, words=words)


def states(
    about: About, *queries: Query, width: int = 12, height: int = 8, steps: Steps = (), words: Words | None = None
) -> Panel:
    """A row of coloured stretches for each series."""
    builder = statetimeline.Panel().merge_values(True).show_value(options.VisibilityMode.AUTO)
    return _finished(builder, about, queries, width, height, steps=steps, words=words)


def bars(about: About, *queries: Query, width: int = 8, height: int = 8, steps: Steps = ()) -> Panel:
    """Values now, one bar each."""
    builder = bargauge.Panel().orientation(options.VizOrientation.HORIZONTAL).reduce_options(_last())
    builder.display_mode(options.BarGaugeDisplayMode.GRADIENT).min(0)
    return _finished(builder, about, queries, width, height, steps=steps)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers in a table."""

    title: str
    expr: str
    unit: str = "short"
    steps: Steps = ()
    words: Words | None = None


def grid(about: About, labels: Mapping[str, str], *columns: Column, width: int = 24, height: int = 8) -> Panel:
    """A row for each set of `labels` (name in the query: title), a column of numbers for each query."""
    builder = table.Panel()
    letters = [chr(ord("A") + position) for position in range(len(columns))]
    queries = [Query(column.expr) for column in columns]
    values = [f"Value #{letter}" if len(columns) > 1 else "Value" for letter in letters]
    shown = dict(labels) | {value: column.title for value, column in zip(values, columns, strict=True)}
    builder.with_transformation(models.DataTransformerConfig("merge", options={}))
    builder.with_transformation(
        models.DataTransformerConfig(
            "organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: position for position, name in enumerate(shown)},
                "renameByName": shown,
            },
        )
    )
    for column in columns:
        properties = [models.DynamicConfigValue("unit", column.unit)]
        if column.steps or column.words:
            properties += [
                models.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
                models.DynamicConfigValue("thresholds", _thresholds(column.steps).build()),
                models.DynamicConfigValue("mappings", _mappings(column.words or {})),
            ]
        builder.override_by_name(column.title, properties)
    return _finished(builder, about, queries, width, height, instant=True)


def _finished(
    builder: Builder,
    about: About,
    queries: Sequence[Query],
    width: int,
    height: int,
    *,
    steps: Steps = (),
    words: Words | None = None,
    instant: bool = False,
) -> Panel:
    builder.title(about.title).description(about.description).unit(about.unit).datasource(PROMETHEUS)
    builder.thresholds(_thresholds(steps)).mappings(_mappings(words or {}))
    # said outright: every kind of panel has another default
    lined = isinstance(builder, timeseries.Panel)
    mode = models.FieldColorModeId.PALETTE_CLASSIC if lined else models.FieldColorModeId.THRESHOLDS
    builder.color_scheme(builders.FieldColor().mode(mode))
    for position, query in enumerate(queries):
        builder.with_target(_target(query, chr(ord("A") + position), instant=instant))
    builder.links([_runbook(alert) for alert in about.alerts])
    return Panel(builder.build(), width, height)


def _target(query: Query, letter: str, *, instant: bool) -> Dataquery:
    target = Dataquery().datasource(PROMETHEUS).expr(query.expr).ref_id(letter)
    if instant:
        return target.instant().format(PromQueryFormat.TABLE)
    target.range().format(PromQueryFormat.TIME_SERIES).exemplar(query.exemplars)
    return target.legend_format(query.legend or "__auto")


def _runbook(alert: str) -> builders.DashboardLink:
    link = builders.DashboardLink(f"Runbook: {alert}").type(models.DashboardLinkType.LINK)
    return link.url(runbook_path(alert)).target_blank(True)


def _thresholds(steps: Steps) -> builders.ThresholdsConfig:
    levels = [models.Threshold(None, GREEN), *(models.Threshold(value, colour) for value, colour in steps)]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(levels)


def _mappings(words: Words) -> list[models.ValueMapping]:
    if not words:
        return []
    results = {
        f"{value:g}": models.ValueMappingResult(text=text, color=colour, index=position)
        for position, (value, (text, colour)) in enumerate(words.items())
    }
    return [models.ValueMap(results)]


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _instead(expr: str, value: int, labels: Mapping[str, str]) -> str:
    other = f"vector({value})"
    for name, label in labels.items():
        other = f'label_replace({other}, "{name}", "{label}", "", "")'
    # on (): any series on the left rules out the one on the right, whatever their labels
    return f"{expr} or on () {other}"
