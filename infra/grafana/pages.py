"""A dashboard out of sections of panels: grid positions, links, variables and annotations."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from infra.grafana.panels import Panel
from infra.grafana.sources import GRAFANA, PROMETHEUS, TAG

_COLUMNS = 24


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the panels under it."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Page:
    """One dashboard. `uid` is its file's name and the last part of its address."""

    uid: str
    title: str
    description: str
    sections: Sequence[Section]
    variables: Sequence[Builder[models.VariableModel]] = ()
    annotations: Sequence[Builder[models.AnnotationQuery]] = ()


def rendered(page: Page) -> str:
    """The JSON that Grafana reads; the same page always gives the same text."""
    dashboard = (
        builders.Dashboard(page.title)
        .uid(page.uid)
        .description(page.description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .time("now-15m", "now")
        .refresh("10s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(builders.DashboardLink("Dashboards").tags([TAG]).as_dropdown(True).keep_time(True))
        .link(_away("Traces and faults (control room)", "http://localhost:8090"))
        .link(_away("Traces (Jaeger)", "http://localhost:16686"))
        .variables(list(page.variables))
        .annotations(list(page.annotations))
    ).build()
    dashboard.panels = _laid_out(page.sections)
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def service_variable(*, everything: bool) -> builders.QueryVariable:
    """`$service`, over what is scraped; `everything` offers all of them at once."""
    variable = _choice("service", "Service", 'label_values(up{job="services"}, service)')
    if everything:
        return _with_all(variable)
    return variable.current(models.VariableOption(selected=True, text="order", value="order"))


def instance_variable() -> builders.QueryVariable:
    """`$instance`, the replicas of the chosen `$service`."""
    query = 'label_values(up{job="services",service=~"$service"}, instance)'
    return _with_all(_choice("instance", "Replica", query))


@dataclass(frozen=True)
class Annotation(Builder[models.AnnotationQuery]):
    """Marks on every panel where `expr` is 1; built as Grafana's annotation support for Prometheus reads it."""

    name: str
    expr: str
    colour: str
    title: str
    text: str
    labels: Sequence[str]

    def build(self) -> models.AnnotationQuery:
        """The model that goes into the dashboard."""
        return _Titled(self)


class _Titled(models.AnnotationQuery):
    """The SDK's model knows nothing of how an annotation is worded."""

    def __init__(self, source: Annotation) -> None:
        super().__init__(
            name=source.name, datasource=PROMETHEUS, enable=True, icon_color=source.colour, expr=source.expr
        )
        self._source = source

    def to_json(self) -> dict[str, object]:
        wording = {
            "titleFormat": self._source.title,
            "textFormat": self._source.text,
            "tagKeys": ",".join(self._source.labels),
            "step": "5s",
        }
        return super().to_json() | wording


def posted_annotations(name: str, tag: str, colour: str) -> builders.AnnotationQuery:
    """Marks that somebody has posted to Grafana with this tag."""
    target = builders.AnnotationTarget().limit(100).match_any(False).tags([tag]).type("tags")
    made = builders.AnnotationQuery().name(name).datasource(GRAFANA).enable(True).icon_color(colour)
    return made.target(target)


def _laid_out(sections: Sequence[Section]) -> list[models.Panel | models.RowPanel]:
    placed: list[models.Panel | models.RowPanel] = []
    y = 0
    for section in sections:
        row = builders.Row(section.title).grid_pos(models.GridPos(h=1, w=_COLUMNS, x=0, y=y)).build()
        row.id_val = len(placed) + 1
        placed.append(row)
        y += 1
        x = tallest = 0
        for panel in section.panels:
            if x + panel.width > _COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            panel.model.id_val = len(placed) + 1
            panel.model.grid_pos = models.GridPos(h=panel.height, w=panel.width, x=x, y=y)
            placed.append(panel.model)
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return placed


def _choice(name: str, label: str, query: str) -> builders.QueryVariable:
    variable = builders.QueryVariable(name).label(label).datasource(PROMETHEUS).query(query)
    return variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)


def _with_all(variable: builders.QueryVariable) -> builders.QueryVariable:
    everything = models.VariableOption(selected=True, text="All", value="$__all")
    return variable.multi(True).include_all(True).all_value(".*").current(everything)


def _away(title: str, url: str) -> builders.DashboardLink:
    return builders.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url).target_blank(True)
