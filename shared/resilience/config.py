"""`resilience.yaml`: read, merged and checked, with the file and the line in every error.

budgets:   one per dependency
configs:   named bases
instances: pipelines; each may name a `base_config`, whose layers it inherits setting by setting; `null` removes one
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from shared.resilience.contradictions import Location, contradictions
from shared.resilience.errors import ConfigError
from shared.resilience.settings import BudgetConfig, CircuitBreakerConfig, InstanceConfig

_DEEPEST = 20
_MOST_VALUES = 10_000
"""Aliases counted wherever they are used: a dozen short lines of them can stand for millions."""
_MOST_SHOWN = 60
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the file, and the line of its key. Mappings hold nodes, and so do lists."""

    value: Any
    line: int

    def plain(self) -> Any:
        """The value without its lines."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, key: str) -> "Node | None":
        """The node under `key`, if this is a mapping that has it."""
        return self.value.get(key) if isinstance(self.value, dict) else None

    def line_of(self, location: Sequence[str | int]) -> int:
        """The line of what `location` leads to, or of the nearest that exists on the way."""
        node = self
        for step in location:
            try:
                inner = node.value[step]
            except (KeyError, IndexError, TypeError):
                break
            if not isinstance(inner, Node):
                break
            node = inner
        return node.line


@dataclass(frozen=True, slots=True)
class ResilienceConfig:
    """The whole file, valid."""

    file: Path
    budgets: dict[str, BudgetConfig]
    instances: dict[str, InstanceConfig]


def load(file: Path) -> ResilienceConfig:
    """Read `file`. ConfigError: it cannot be read, is no YAML, or says something that makes no sense."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(file, 1, f"cannot be read: {error}") from error
    return parse(text, file)


def parse(text: str, file: Path) -> ResilienceConfig:
    """As `load`, for text that was read already; `file` is only named in errors."""
    return build(compose(text, file), file)


def compose(text: str, file: Path) -> Node:
    """The values in `text` with their lines. ConfigError: it is no YAML, or not a plain one."""
    return _Loader(file).compose(text)


def build(root: Node, file: Path) -> ResilienceConfig:
    """Check what was composed. ConfigError: it says something that makes no sense."""
    return _Loader(file).build(root)


class _ShallowLoader(yaml.SafeLoader):
    """PyYAML's, which answers deep nesting by a RecursionError, or after minutes."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self._depth > _DEEPEST:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "nested too deeply", mark)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Loader:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._values = 0

    def build(self, root: Node) -> ResilienceConfig:
        self._only_keys(root, ("budgets", "configs", "instances"))
        budgets = {name: self._model(BudgetConfig, node) for name, node in self._section(root, "budgets").items()}
        bases = self._section(root, "configs")
        for node in bases.values():
            # A base that nobody uses is checked as well: it is going to be used one day.
            self._model(InstanceConfig, node)
        merged = {name: self._merged(node, bases) for name, node in self._section(root, "instances").items()}
        instances = {name: self._instance(node, budgets) for name, node in merged.items()}
        self._check_shared_breakers(merged, instances)
        return ResilienceConfig(self._file, budgets, instances)

    # -- the file as nodes ---------------------------------------------------------------------------------------

    def compose(self, text: str) -> Node:
        try:
            node = yaml.compose(text, Loader=_ShallowLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigError(self._file, line, f"is not valid YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise ConfigError(self._file, 1, f"is not valid YAML: {error}") from error
        return Node({}, 1) if node is None else self._node(node, node.start_mark.line + 1)

    def _node(self, node: yaml.Node, line: int, depth: int = 0) -> Node:
        self._values += 1
        if depth > _DEEPEST:
            raise ConfigError(self._file, line, "is nested too deeply")
        if self._values > _MOST_VALUES:
            raise ConfigError(self._file, line, f"has more than {_MOST_VALUES} values")
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
            raise ConfigError(self._file, line, f"is not a plain value: {node.tag}")
        if isinstance(node, yaml.MappingNode):
            found: dict[str, Node] = {}
            for key, value in node.value:
                key_line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    raise ConfigError(self._file, key_line, "a key must be a plain name")
                if key.value in found:
                    raise ConfigError(self._file, key_line, f"{key.value!r} is given twice")
                found[key.value] = self._node(value, key_line, depth + 1)
            return Node(found, line)
        if isinstance(node, yaml.SequenceNode):
            return Node([self._node(item, item.start_mark.line + 1, depth + 1) for item in node.value], line)
        try:
            return Node(yaml.constructor.SafeConstructor().construct_object(node), line)
        except (yaml.YAMLError, ValueError) as error:  # a date that is none, a number with too many digits
            shown = node.value[:_MOST_SHOWN]
            raise ConfigError(self._file, line, f"is not a plain value: {shown!r}") from error

    def _section(self, root: Node, name: str) -> dict[str, Node]:
        section = root.child(name)
        if section is None or section.value is None:
            return {}
        for node in (section, *(section.value.values() if isinstance(section.value, dict) else ())):
            if not isinstance(node.value, dict):
                raise ConfigError(self._file, node.line, f"{name}: expected a mapping, found {node.plain()!r}")
        return dict(section.value)

    def _only_keys(self, node: Node, known: Sequence[str]) -> None:
        if not isinstance(node.value, dict):
            raise ConfigError(self._file, node.line, f"expected a mapping of {', '.join(known)}")
        for key, value in node.value.items():
            if key not in known:
                raise ConfigError(self._file, value.line, f"unknown key {key!r}; known are {', '.join(known)}")

    # -- inheritance ---------------------------------------------------------------------------------------------

    def _merged(self, node: Node, bases: dict[str, Node]) -> Node:
        named = node.child("base_config")
        if named is None or named.value is None:
            return node
        base = bases.get(named.value) if isinstance(named.value, str) else None
        if base is None:
            known = ", ".join(bases) or "none"
            raise ConfigError(self._file, named.line, f"unknown base_config {named.plain()!r}; known are {known}")
        return _merge(base, node)

    # -- validation ----------------------------------------------------------------------------------------------

    def _model(self, model: type[_M], node: Node) -> _M:
        try:
            return model.model_validate(node.plain(), context={"file": True})
        except ValidationError as error:
            errors = error.errors()
            # A misspelt key is also a missing one; the misspelling is what helps.
            first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
            location = _in_file(first["loc"])
            raise ConfigError(self._file, node.line_of(location), _reason(model, location, first)) from error

    def _instance(self, node: Node, budgets: dict[str, BudgetConfig]) -> InstanceConfig:
        instance = self._model(InstanceConfig, node)
        if instance.budget is not None and instance.budget not in budgets:
            known = ", ".join(budgets) or "none"
            raise ConfigError(
                self._file, node.line_of(("budget",)), f"unknown budget {instance.budget!r}; known are {known}"
            )
        for location, reason in contradictions(instance):
            raise ConfigError(self._file, node.line_of(location), reason)
        return instance

    def _check_shared_breakers(self, nodes: dict[str, Node], instances: dict[str, InstanceConfig]) -> None:
        settings: dict[str, tuple[str, CircuitBreakerConfig]] = {}
        for name, instance in instances.items():
            if instance.circuit_breaker is None:
                continue
            breaker = instance.breaker or name
            first, config = settings.setdefault(breaker, (name, instance.circuit_breaker))
            if config != instance.circuit_breaker:
                raise ConfigError(
                    self._file,
                    nodes[name].line_of(("circuit_breaker",)),
                    f"shares breaker {breaker!r} with {first!r} but gives it other settings",
                )


def _merge(base: Node, over: Node) -> Node:
    """`over` on top of `base`, key by key; each value keeps the line that it came from."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    named = over.child("type")
    if named is not None and named.value != _type(base):
        # Another kind of policy altogether: their settings do not mix.
        return over
    merged = dict(base.value)
    for key, node in over.value.items():
        merged[key] = _merge(merged[key], node) if key in merged else node
    return Node(merged, over.line)


def _type(node: Node) -> Any:
    """The kind of bulkhead; one that names none is the plain one."""
    named = node.child("type")
    return "fixed" if named is None else named.value


def _in_file(location: Location) -> Location:
    """Where the file has it: pydantic also names the kind of bulkhead that it was tried as."""
    return location[:1] + location[2:] if location[:1] == ("bulkhead",) else location


def _reason(model: type[BaseModel], location: Location, error: Any) -> str:
    path = ".".join(str(step) for step in location)
    if error["type"] == "extra_forbidden":
        return f"unknown key {path!r}"
    message = error["msg"].removeprefix("Value error, ")
    if message.startswith("Input "):
        message = f"i{message[1:]}"
    return f"{path}: {message}" if path else f"{model.__name__}: {message}"
