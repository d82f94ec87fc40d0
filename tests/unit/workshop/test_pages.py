"""The pages and the checks belong together: what a check points to is there."""

import re
from pathlib import Path

import pytest

from workshop.lab import Lab
from workshop.labs import LABS

_ROOT = Path(__file__).resolve().parents[3]
_PAGES = _ROOT / "docs" / "workshop"
_EACH = pytest.mark.parametrize("lab", LABS.values(), ids=lambda lab: lab.page)


def page(lab: Lab) -> str:
    return (_PAGES / lab.page).read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_labs_are_the_twelve_and_the_overview_lists_each_with_its_minutes() -> None:
    assert sorted(LABS) == list(range(1, 13))
    overview = (_PAGES / "README.md").read_text(encoding="utf-8")
    for lab in LABS.values():
        assert f"| {lab.number} | [{lab.title}]({lab.page}) | {lab.minutes} |" in overview
        assert page(lab).startswith(f"# Lab {lab.number}: ")
        assert f"**Time:** {lab.minutes} minutes" in page(lab)


@_EACH
def test_every_place_that_a_check_points_to_is_a_heading_of_its_page(lab: Lab) -> None:
    code = Path(lab.check.__code__.co_filename).read_text(encoding="utf-8")
    calls = re.findall(r"LAB\.not_yet\((.+?)\n(?:    |\n|def )", code.replace("\n        ", " "), re.DOTALL)
    named = {word for call in calls for word in re.findall(r'"([a-z]+(?:-[a-z]+)*)"', call)}
    assert len(calls) >= 2
    assert named
    assert named <= anchors(page(lab)), f"{lab.page} has {anchors(page(lab))}"


@_EACH
def test_every_lab_has_a_goal_a_trap_a_check_three_questions_and_its_code(lab: Lab) -> None:
    text = page(lab)
    assert "**Goal:**" in text
    assert "**The trap.**" in text or "## The trap" in text
    assert f"make lab LAB={lab.number}" in text
    assert f"make lab-check LAB={lab.number}" in text
    assert text.count("<details><summary>") == text.count("</details>") == 3
    assert "**Code:**" in text
    assert len(lab.hints) == 3


@pytest.mark.parametrize("file", sorted(_PAGES.glob("*.md")), ids=lambda file: file.name)
def test_every_link_of_a_page_leads_somewhere(file: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8"))
    missing = [link for link in links if not (file.parent / link).exists()]
    assert not missing
