"""Links lead somewhere, diagrams can be drawn, and the state machine on paper is the one in the code."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from services.order.states import FINAL, NEXT
from tests.unit.docs.pages import ROOT, anchors, blocks, name, pages, prose

_LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^()\s]+(?:\([^()\s]*\)[^()\s]*)*)\)")
_DIAGRAMS = {"flowchart", "sequenceDiagram", "stateDiagram-v2"}
_PAIRS = {")": "(", "]": "[", "}": "{"}


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Relative links of a page: as written, the file, the anchor."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    for written in _LINK.findall(text):
        if re.match(r"[a-z]+:", written):
            continue
        path, _, anchor = unquote(written).partition("#")
        yield written, (page.parent / path).resolve() if path else page, anchor


def missing(written: str, target: Path, anchor: str) -> bool:
    if not target.exists():
        return True
    return bool(anchor) and target.suffix == ".md" and anchor not in anchors(target)


def test_every_relative_link_and_anchor_leads_somewhere_in_the_tree() -> None:
    found = [(page, *link) for page in pages() for link in links(page)]
    assert len(found) > 500
    dead = [f"{name(page)}: {link[0]}" for page, *link in found if missing(*link)]
    assert dead == []
    assert [f"{name(page)}: {written}" for page, written, to, _ in found if not to.is_relative_to(ROOT)] == []


def test_every_page_of_the_documentation_is_reached_from_its_index() -> None:
    reached, ahead = set[Path](), [ROOT / "docs" / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached:
            reached.add(page)
            found = (target / "README.md" if target.is_dir() else target for _, target, _ in links(page))
            ahead += [target for target in found if target.suffix == ".md" and target.is_file()]
    assert [name(page) for page in pages() if page.is_relative_to(ROOT / "docs") and page not in reached] == []


def balanced(text: str) -> bool:
    open_: list[str] = []
    for character in re.sub(r"\|[^|\n]*\||\"[^\"\n]*\"", "", text):
        if character in _PAIRS.values():
            open_.append(character)
        elif character in _PAIRS and (not open_ or open_.pop() != _PAIRS[character]):
            return False
    return not open_


DRAWN = [block for page in pages() for block in blocks(page) if block.info == ("mermaid",)]


def test_every_diagram_has_a_known_kind_closed_brackets_and_an_end_for_each_frame() -> None:
    assert len(DRAWN) > 5
    for block in DRAWN:
        kind = block.text.split()[0]
        assert kind in _DIAGRAMS, block.place
        assert kind != "flowchart" or balanced(block.text), block.place
        lines = [line.strip() for line in block.text.splitlines()]
        frames = sum(line.startswith(("subgraph ", "alt ", "opt ", "loop ", "par ")) for line in lines)
        assert frames == lines.count("end"), block.place


def test_every_participant_of_a_sequence_is_declared() -> None:
    sequences = [block for block in DRAWN if block.text.startswith("sequenceDiagram")]
    assert sequences
    for block in sequences:
        declared = set(re.findall(r"participant (\w+)", block.text))
        used = set(re.findall(r"^ *(\w+) *-{1,2}>>", block.text, re.MULTILINE)) | set(
            re.findall(r">>(\w+):", block.text)
        )
        assert used == declared, block.place


def test_the_life_of_an_order_as_drawn_is_that_of_the_code() -> None:
    (drawn,) = [block for block in DRAWN if block.text.startswith("stateDiagram")]
    arrows = set(re.findall(r"^ *(\S+) --> (\S+?)(?::.*)?$", drawn.text, re.MULTILINE))
    ended = {(state.value, "[*]") for state in FINAL if not NEXT[state]}
    code = {(state.value, following.value) for state, next_ in NEXT.items() for following in next_}
    assert arrows == code | ended | {("[*]", "RESERVING")}
