"""The pages of the documentation, and what stands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
_TEMPLATES = ROOT / "ml" / "cards"
"""Pages that are filled in and written elsewhere: their links hold there."""

_FENCE = re.compile(r"^( *)```(.*)$")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$")
_INLINE = re.compile(r"`([^`\n]+)`")
_COMMENT = re.compile(r"(?:^|[ \t]+)#(?=\s|$).*$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"<[a-zA-Z][^<>]*>")
_ENDS = {";", "&&", "||", "|", "&", "(", ")", "{", "}", ");", "))", "&)", "\n"}
_OPENING = {"do", "then", "else", "if", "while", "until", "!"}
_REDIRECTION = re.compile(r"\s\d?>{1,2}(?:&\d|\s*[^\s&|;]+)")

PLACEHOLDER = "PLACEHOLDER"


@dataclass(frozen=True)
class Block:
    """A fenced block: the words after the fence (`sh cluster`), and its text."""

    path: Path
    line: int
    info: tuple[str, ...]
    text: str

    @property
    def place(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


@cache
def pages() -> tuple[Path, ...]:
    """Every page of the repository."""
    found = sorted(ROOT.glob("*.md"))
    for top in sorted(ROOT.iterdir()):
        if top.is_dir() and not top.name.startswith("."):
            found += [page for page in sorted(top.rglob("*.md")) if page.parent != _TEMPLATES]
    return tuple(found)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    found: list[Block] = []
    begun: tuple[int, str, tuple[str, ...]] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and begun is None:
            begun, lines = (number, fence[1], tuple(fence[2].split())), []
        elif fence and begun:
            found.append(Block(page, begun[0], begun[2], "\n".join(lines) + "\n"))
            begun = None
        elif begun:
            lines.append(line.removeprefix(begun[1]))
    assert begun is None, f"{name(page)}: a fence is not closed"
    return tuple(found)


@cache
def prose(page: Path) -> str:
    """The page without its fenced blocks; the numbers of lines stay."""
    lines, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = _FENCE.match(line) is not None
        inside = inside != fence
        lines.append("" if inside or fence else line)
    return "\n".join(lines)


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives to the headings of a page."""
    found: dict[str, int] = {}
    for line in prose(page).splitlines():
        if heading := _HEADING.match(line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            found[slug] = found.get(slug, -1) + 1
            if found[slug]:
                found[f"{slug}-{found[slug]}"] = 0
    return frozenset(found)


def commands(text: str) -> Iterator[list[str]]:
    """The simple commands of a piece of shell, each as its words; placeholders like `<id>` are one word."""
    joined = _PLACEHOLDER.sub(PLACEHOLDER, _COMMENT.sub("", text.replace("\\\n", " ")))
    joined = _REDIRECTION.sub(" ", joined)
    lexer = shlex.shlex(joined, posix=True, punctuation_chars="();|&\n")
    lexer.whitespace, lexer.commenters = " \t", ""
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, "\n"]:
        if word in _ENDS or set(word) <= set("();|&\n"):
            if words:
                yield words
            words = []
        elif words or word not in _OPENING:
            words.append(word)


def shell() -> Iterator[tuple[str, bool, list[str]]]:
    """Every command of the pages: where it stands, whether it needs a cluster, its words."""
    for page in pages():
        for block in blocks(page):
            if block.info[:1] == ("sh",):
                for words in commands(block.text):
                    yield block.place, "cluster" in block.info, words
        for number, line in enumerate(prose(page).splitlines(), 1):
            indented = [line] if line.startswith("    make ") else []
            for code in [*_INLINE.findall(line.replace("\\|", "|")), *indented]:
                if re.match(r" *(make [a-z]|curl |(\.venv/bin/)?python3? -m )", code):
                    for words in commands(code.strip()):
                        yield f"{name(page)}:{number}", False, words
