"""The report: everything that decided the verdict is on the page, in step with the recording."""

import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from chaos import bounds
from chaos.report import summary, write
from chaos.report.html import page
from chaos.report.markdown import text
from chaos.report.plots import Axis, bars, lines, strips
from chaos.report.run import Run, figures, phases
from tests.unit.chaos.runs import CLEAN, breaker, definition, recording, run


@pytest.fixture
def made() -> Run:
    seen = recording(202)
    breaker(seen, (95, "closed"), (103, "open"), (122, "closed"))
    seen.process(95, "payment-1", "running", 10)
    seen.process(101, "payment-1", "down", 0)
    seen.alert(110, "ServiceGone", "firing")
    return run(seen)


def test_markdown_has_verdict_lesson_findings_timeline_alerts_and_invariants(made: Run) -> None:
    shown = text(made)
    for part in (
        "# PASS: By <hand>",
        "A lesson & a half.",
        "payment-1: running -> down",
        "ServiceGone",
        "100.0% of 200",
    ):
        assert part in shown
    assert "clean: every invariant holds" in shown
    assert "+20.0 | lift" in shown


def test_html_escapes_what_others_wrote_and_loads_nothing(made: Run) -> None:
    shown = page(made)
    assert "By &lt;hand&gt;" in shown
    assert "By <hand>" not in shown
    found = Tags()
    found.feed(shown)
    assert found.count["svg"] == 4
    assert not {"script", "link", "img", "iframe"} & set(found.count)


def test_a_run_that_never_began_has_a_report_too(tmp_path: Path) -> None:
    sick = run(recording(fault=False), CLEAN)
    write(sick, {}, tmp_path)
    assert "INCONCLUSIVE" in (tmp_path / "report.html").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"verdict.json", "journal.json", "report.html", "report.md"}


def test_the_bounds_of_several_runs_are_shown_with_the_narrowest_first(tmp_path: Path) -> None:
    defined = definition(
        expect=[{"answers": [201, 202], "at_least": 0.8}, {"latency": 99, "at_most": 0.04}],
        recovery={"within_seconds": 30},
    )
    for name, status in (("a", 202), ("b", 201)):
        (tmp_path / name).mkdir()
        write(run(recording(status), CLEAN, defined), {}, tmp_path / name)
    rows = bounds.read(tmp_path)
    assert [(row.measure, row.runs, round(row.measured, 2), row.bound, f"{row.headroom:.0%}") for row in rows] == [
        ("share of orders answered 202", 2, 0.0, "at least 0.5", "-100%"),
        ("p99 in seconds", 2, 0.05, "at most 0.04", "-25%"),
        ("share of orders answered 201/202", 2, 1.0, "at least 0.8", "25%"),
        ("seconds until recovered", 2, 3.0, "at most 30", "90%"),
    ]
    with (tmp_path / "shown").open("w") as file:
        bounds.show(rows, Console(file=file, width=120))
    assert "at most 0.04" in (tmp_path / "shown").read_text()


def test_phases_split_at_the_fault_and_its_end(made: Run) -> None:
    assert [(phase.name, phase.orders, phase.statuses) for phase in phases(made)] == [
        ("before", 100, {201: 100}),
        ("during", 200, {202: 200}),
        ("after", 150, {201: 150}),
    ]


def test_figures_count_from_the_end_of_the_fault(made: Run) -> None:
    assert figures(made)["fault_seconds"] == 20.0
    assert figures(made)["recovery_seconds"] == 3.0
    assert figures(made)["abort_seconds"] is None


def test_the_summary_is_in_the_order_in_which_things_happened(made: Run) -> None:
    moments = [mark["at"] for mark in summary(made)["timeline"]]
    assert moments == sorted(moments)


def test_a_bar_is_as_high_as_its_count() -> None:
    drawn = ET.fromstring(bars(Axis(0.0, 4.0, (1.0, 2.0)), [{"201": 10}, {"201": 5, "503": 5}], "a & b"))
    heights = {
        (rect.get("fill"), round(float(rect.get("height") or 0), 1))
        for rect in drawn.iter("rect")
        if rect.get("class") != "fault" and rect.get("height") != "10"
    }
    full = max(height for _, height in heights)
    assert len(heights) == 3
    assert sorted(height for _, height in heights)[:2] == [pytest.approx(full / 2)] * 2


@pytest.mark.parametrize(
    "drawn",
    [
        lines(Axis(0.0, 9.0, None), {"p50": [], "p99": []}, "nothing"),
        lines(Axis(5.0, 5.0, None), {"p99": [(5.0, 0.0)]}, "no time at all"),
        strips(Axis(0.0, 9.0, (1.0, 1.0)), {"payment <1>": [(0.0, "open")]}, "one state"),
    ],
)
def test_odd_runs_are_drawn_as_whole_svg(drawn: str) -> None:
    assert ET.fromstring(drawn).get("viewBox")
    assert "nan" not in drawn
    assert "inf" not in drawn


class Tags(HTMLParser):
    """Counts elements."""

    def __init__(self) -> None:
        super().__init__()
        self.count: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
