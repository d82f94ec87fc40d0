"""The `resilience4j` block of a Spring `application.yml`, as it stands.

    found = load_spring(Path("application.yml"))
    registry = Registry(found.config)
    for note in found.notes: ...             # what was accepted and has no effect here, with its line

An instance has the layers whose sections name it. As in Resilience4j, it inherits from its `baseConfig`, or else from
`default`. What would change the behaviour and cannot be had here is refused, with the file and the line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from shared.resilience import spring_table as table
from shared.resilience import spring_values as values
from shared.resilience.config import Node, ResilienceConfig, build, compose
from shared.resilience.errors import ConfigError
from shared.resilience.spring_values import EXCEPTIONS

Properties: TypeAlias = dict[str, Node]


@dataclass(frozen=True, slots=True)
class Note:
    """Something in the file that was accepted and has no effect here, or not quite the same one."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class SpringConfig:
    """What the file says, and what of it has no meaning here."""

    config: ResilienceConfig
    notes: tuple[Note, ...] = ()


def load_spring(file: Path, exceptions: Mapping[str, str] | None = None) -> SpringConfig:
    """Read the `resilience4j` block of `file`.

    exceptions: Python exceptions (dotted paths) for Java ones, beside and before `EXCEPTIONS`

    ConfigError: `file:line: reason`; it cannot be read, is no YAML, or asks for something that cannot be had.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(file, 1, f"cannot be read: {error}") from error
    return parse_spring(text, file, exceptions)


def parse_spring(text: str, file: Path, exceptions: Mapping[str, str] | None = None) -> SpringConfig:
    """As `load_spring`, for text that was read already."""
    known = {**EXCEPTIONS, **{name: (path,) for name, path in (exceptions or {}).items()}}
    return _Translator(file, known).translate(compose(text, file))


@dataclass(slots=True)
class _Translator:
    file: Path
    exceptions: Mapping[str, tuple[str, ...]]
    notes: list[Note] = field(default_factory=list)
    instances: dict[str, Properties] = field(default_factory=dict)

    def translate(self, root: Node) -> SpringConfig:
        modules = {
            "circuitbreaker": ("circuit_breaker", self._breaker),
            "retry": ("retry", self._retry),
            "bulkhead": ("bulkhead", self._bulkhead),
            "timelimiter": ("timeout", self._timeout),
            "ratelimiter": ("rate_limiter", self._rate_limiter),
        }
        sections = self._mapping(root)
        for key, node in sections.items():
            if key != "resilience4j":
                self.notes.append(Note(node.line, f"{key}: not a setting of this library"))
        block = sections.get("resilience4j")
        if block is None:
            raise ConfigError(self.file, 1, "there is no resilience4j block")
        for key, node in self._mapping(block).items():
            if key not in modules:
                raise self._error(node, f"resilience4j.{key} cannot be had here; known are {', '.join(modules)}")
            self._module(key, node, *modules[key])
        instances = Node({name: Node(layers, _line(layers)) for name, layers in self.instances.items()}, block.line)
        config = build(Node({"instances": instances}, 1), self.file)
        return SpringConfig(config, tuple(sorted(self.notes, key=lambda note: note.line)))

    def _module(self, module: str, node: Node, layer: str, translate: Callable[[Properties], Properties]) -> None:
        sections = self._mapping(node)
        for key, section in sections.items():
            if key not in ("configs", "instances"):
                raise self._error(section, f"unknown key {key!r} in {module}; known are configs, instances")
        configs = {name: self._properties(each) for name, each in self._mapping(sections.get("configs")).items()}
        used: set[str] = set()
        for name, each in self._mapping(sections.get("instances")).items():
            properties = self._inherited(name, self._properties(each), configs, used)
            self.instances.setdefault(name, {})[layer] = Node(translate(properties), each.line)
        for name in configs.keys() - used:
            # What nobody inherits is checked as well: it is going to be used one day.
            translate(configs[name])
            line = self._mapping(sections["configs"])[name].line
            self.notes.append(Note(line, f"{module}.configs.{name}: no instance uses it"))

    def _inherited(
        self,
        name: str,
        given: Properties,
        configs: Mapping[str, Properties],
        used: set[str],
        heirs: tuple[str, ...] = (),
    ) -> Properties:
        """`given` on top of what it inherits; `heirs`: the configurations that lead here."""
        properties = dict(given)
        named = properties.pop("baseConfig", None)
        if named is not None and named.value not in configs:
            known = ", ".join(configs) or "none"
            raise self._error(named, f"{name}: unknown baseConfig {named.plain()!r}; known are {known}")
        if named is not None and named.value in heirs:
            raise self._error(named, f"{name}: its baseConfig leads back to itself")
        base = "default" if named is None else str(named.value)
        if base not in configs or base in heirs:
            return properties
        used.add(base)
        return {**self._inherited(base, configs[base], configs, used, (*heirs, base)), **properties}

    # -- one module's settings in ours ---------------------------------------------------------------------------

    def _breaker(self, given: Properties) -> Properties:
        ours = self._renamed(given, table.BREAKER)
        rest = given.keys() - table.BREAKER.keys()
        for name in ("recordExceptions", "ignoreExceptions"):
            if name in given:
                ours[f"{name[:6]}_exceptions"] = self._exceptions(given[name])
                rest.discard(name)
        if self._flag(given, "enableExponentialBackoff"):
            ours["open_wait_multiplier"] = given.get("exponentialBackoffMultiplier") or self._default(given, 1.5)
            if "exponentialMaxWaitDurationInOpenState" in given:
                longest = self._value(given["exponentialMaxWaitDurationInOpenState"], values.duration)
                ours["max_wait_duration_in_open_state"] = longest
        rest -= {*table.EXPONENTIAL, "exponentialMaxWaitDurationInOpenState"}
        if "enableRandomizedWait" in given and not self._flag(given, "enableRandomizedWait"):
            rest -= set(table.RANDOMIZED)
        self._leave(given, rest, "circuitbreaker")
        self._fit_minimum(given, ours)
        return ours

    def _fit_minimum(self, given: Properties, ours: Properties) -> None:
        """Resilience4j takes a minimum that a count window cannot hold for the window's size; here it is refused."""
        kind, size, minimum = (
            ours.get(name, self._default(given, default))
            for name, default in (
                ("sliding_window_type", "count"),
                ("sliding_window_size", table.WINDOW),
                ("minimum_number_of_calls", table.WINDOW),
            )
        )
        numbers = isinstance(size.value, int) and isinstance(minimum.value, int)
        if kind.value == "count" and numbers and minimum.value > size.value:
            ours["minimum_number_of_calls"] = Node(size.value, minimum.line)

    def _retry(self, given: Properties) -> Properties:
        ours = self._renamed(given, table.RETRY)
        rest = (
            given.keys()
            - table.RETRY.keys()
            - {"waitDuration", "exponentialMaxWaitDuration", *table.EXPONENTIAL, *table.RANDOMIZED}
        )
        for name in ("retryExceptions", "ignoreExceptions"):
            if name in given:
                ours[name.replace("Exceptions", "_exceptions")] = self._exceptions(given[name])
                rest.discard(name)
        wait = given.get("waitDuration") or self._default(given, "500ms")
        ours["wait_duration"] = self._value(wait, values.duration)
        multiplier = self._default(given, 1)
        if self._flag(given, "enableExponentialBackoff"):
            multiplier = given.get("exponentialBackoffMultiplier") or self._default(given, 1.5)
        ours["multiplier"] = multiplier
        ours["max_wait"] = self._longest_wait(given, wait, multiplier)
        randomized = self._flag(given, "enableRandomizedWait")
        if randomized:
            line = given["enableRandomizedWait"].line
            self.notes.append(Note(line, "enableRandomizedWait: each wait is spread from half of it to the whole"))
        ours["jitter"] = self._default(given, "equal" if randomized else "none")
        self._leave(given, rest, "retry")
        note = Note(ours["wait_duration"].line, "retry: only calls that are declared idempotent are repeated")
        if note not in self.notes:
            self.notes.append(note)
        return ours

    def _bulkhead(self, given: Properties) -> Properties:
        self._leave(given, given.keys() - table.BULKHEAD.keys(), "bulkhead")
        return self._renamed(given, table.BULKHEAD)

    def _rate_limiter(self, given: Properties) -> Properties:
        self._leave(given, given.keys() - table.RATE_LIMITER.keys(), "ratelimiter")
        if "limitRefreshPeriod" not in given:
            line = _line(given)
            raise ConfigError(self.file, line, "ratelimiter: without a limitRefreshPeriod (500 ns) it limits nothing")
        ours = self._renamed(given, table.RATE_LIMITER)
        ours.setdefault("timeout_duration", self._default(given, "5s"))
        return ours

    def _timeout(self, given: Properties) -> Properties:
        self._leave(given, given.keys() - table.TIMEOUT.keys(), "timelimiter")
        ours = self._renamed(given, table.TIMEOUT)
        ours.setdefault("duration", self._default(given, "1s"))
        return ours

    def _longest_wait(self, given: Properties, wait: Node, multiplier: Node) -> Node:
        """Resilience4j has no limit unless one is given, so ours is the longest wait that there can be."""
        limit = given.get("exponentialMaxWaitDuration")
        if limit is not None:
            return self._value(limit, values.duration)
        attempts = given.get("maxAttempts") or self._default(given, 3)
        longest = self._value(wait, lambda text: values.longest_wait(text, multiplier.value, attempts.value))
        return Node(longest.value, wait.line)

    def _exceptions(self, node: Node) -> Node:
        if not isinstance(node.value, list):
            raise self._error(node, "expected a list of exception classes")
        found: list[Node] = []
        for each in node.value:
            paths = self.exceptions.get(each.value) if isinstance(each.value, str) else None
            if paths is None:
                raise self._error(each, f"no Python exception is known for {each.plain()!r}; name it in `exceptions`")
            found += [Node(path, each.line) for path in paths]
        return Node(found, node.line)

    def _leave(self, given: Properties, names: set[str], module: str) -> None:
        """Note the settings in `names` if they are harmless; ConfigError: one is not."""
        for name in sorted(names, key=lambda each: given[each].line):
            if name == "baseConfig":
                continue
            if name not in table.NO_EFFECT:
                raise self._error(given[name], f"{module}: {name} cannot be had here")
            note = Note(given[name].line, f"{name}: no effect; {table.NO_EFFECT[name]}")
            if note not in self.notes:
                self.notes.append(note)

    # -- nodes ---------------------------------------------------------------------------------------------------

    def _renamed(self, given: Properties, settings: table.Settings) -> Properties:
        return {ours: self._value(given[name], convert) for name, (ours, convert) in settings.items() if name in given}

    def _value(self, node: Node, convert: Callable[[Any], Any]) -> Node:
        try:
            return Node(convert(node.value), node.line)
        except ValueError as error:
            raise self._error(node, str(error)) from error

    def _flag(self, given: Properties, name: str) -> bool:
        node = given.get(name)
        if node is None:
            return False
        if not isinstance(node.value, bool):
            raise self._error(node, f"{name}: expected true or false, found {node.plain()!r}")
        return node.value

    def _properties(self, node: Node) -> Properties:
        return {values.camel_case(name): each for name, each in self._mapping(node).items()}

    def _mapping(self, node: Node | None) -> Properties:
        if node is None or node.value is None:
            return {}
        if not isinstance(node.value, dict):
            raise self._error(node, f"expected a mapping, found {node.plain()!r}")
        return dict(node.value)

    @staticmethod
    def _default(given: Properties, value: Any) -> Node:
        return Node(value, _line(given))

    def _error(self, node: Node, reason: str) -> ConfigError:
        return ConfigError(self.file, node.line, reason)


def _line(nodes: Properties) -> int:
    return min((node.line for node in nodes.values()), default=1)
