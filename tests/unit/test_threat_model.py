"""A threat model is worth what holds it: each test that it names is there."""

import ast
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
NAMED = re.compile(r"\[(test_\w+)\]\(([^)]+)\)")


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_the_threat_model_names_is_in_the_file_that_it_links() -> None:
    named = NAMED.findall(PAGE.read_text(encoding="utf-8"))
    assert len(named) > 25
    missing = [(name, path) for name, path in named if name not in functions((PAGE.parent / path).resolve())]
    assert missing == []


def test_every_link_of_the_threat_model_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", PAGE.read_text(encoding="utf-8"))
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
