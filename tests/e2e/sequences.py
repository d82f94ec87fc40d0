"""Sequences of calls along the links of an OpenAPI document: what one call answers, the next one asks for."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis.engine.recorder import ScenarioRecorder
from schemathesis.specs.openapi.checks import ensure_resource_availability

_STEPS, _MOST_RUNS = 16, 10

Headers = Callable[[str], Mapping[str, str]]
"""The headers that a path asks for."""
NAMES = ("one", "two", "three")
"""What operations name what they make, before each sequence makes the names its own; one may come again in it."""
Followed = Counter[tuple[str, str, int]]
"""Which operation followed which, with what status, how often."""


def document(url: str) -> dict[str, Any]:
    """The OpenAPI document of the service at `url`."""
    return httpx.get(f"{url}/openapi.json", timeout=30).raise_for_status().json()


def choose(document: dict[str, Any], model: str, **values: Sequence[Any]) -> None:
    """Have these fields of a model be one of these values: what is made up is hardly ever for sale."""
    properties = document["components"]["schemas"][model]["properties"]
    for name, chosen in values.items():
        assert name in properties, f"{model} has no {name}"
        properties[name] = {"enum": list(chosen)}


def choose_parameter(document: dict[str, Any], operation: str, name: str, values: Sequence[Any]) -> None:
    """Have a parameter of an operation, `get /orders`, be one of these values."""
    method, path = operation.split()
    (parameter,) = [each for each in document["paths"][path][method]["parameters"] if each["name"] == name]
    parameter["schema"] = {"enum": list(values)}


def links(document: dict[str, Any]) -> set[tuple[str, str]]:
    """Every link: the operation that answers, and the one that may follow."""
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    return {
        (operation["operationId"], link["operationId"])
        for operation in operations
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    }


class _Walk:
    """What is ours of a state machine: schemathesis chooses the calls."""

    headers: ClassVar[Headers]
    names: ClassVar[Mapping[str, str]]
    checks: ClassVar[list[Any]]
    followed: ClassVar[Followed]
    failures: ClassVar[list[BaseException]]
    numbers: ClassVar[Iterator[int]]
    recorder: ScenarioRecorder

    def setup(self) -> None:
        self.number = next(self.numbers)

    def before_call(self, case: schemathesis.Case) -> None:
        name = self.names.get(_operation(case), "")
        for holder in (case.headers, case.body):
            if isinstance(holder, Mapping) and holder.get(name) in NAMES:
                holder[name] = f"walk-{self.number}-{holder[name]}"

    def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
        return {"headers": dict(self.headers(case.operation.path))}

    def validate_response(self, response: Any, case: schemathesis.Case, *_more: Any, **kwargs: Any) -> None:
        try:
            case.validate_response(response, self.checks, transport_kwargs=kwargs, recorder=self.recorder)
        except BaseException as failure:
            self.failures.append(failure)
            raise

    def teardown(self) -> None:
        for case_id, node in self.recorder.cases.items():
            answered = self.recorder.interactions.get(case_id)
            if node.transition and node.is_transition_applied and answered and answered.response:
                before = self.recorder.cases[node.transition.parent_id].value
                self.followed[_operation(before), _operation(node.value), answered.response.status_code] += 1


def follow(
    document: dict[str, Any], url: str, checks: list[Any], *, headers: Headers, names: Mapping[str, str], scenarios: int
) -> Followed:
    """Make up so many sequences of calls, and as many again until each link was followed; check every answer.

    names: the field or header by which an operation names what it makes. Each sequence has names of its own, so that
        the same calls are answered alike in two of them.
    """
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    schema.config.phases.stateful.inference.algorithms = []  # the document's own links, and none that are guessed
    given = {"headers": staticmethod(headers), "names": names, "checks": [*checks, ensure_resource_availability]}
    kept = {"followed": Counter(), "failures": [], "numbers": itertools.count(1)}
    walk = type("Walk", (_Walk, schema.as_state_machine()), given | kept)
    chosen = settings(
        max_examples=scenarios,
        stateful_step_count=_STEPS,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    missing = links(document)
    for begun in range(_MOST_RUNS):
        try:
            seed(begun)(walk).run(settings=chosen)
        except FlakyStrategyDefinition:
            # the same calls were answered otherwise, such as 202 for 201 on a busy machine: go on with others
            if walk.failures:
                raise walk.failures[0] from None
        missing -= {(before, after) for before, after, _ in walk.followed}
        if not missing:
            break
    assert not missing, "links that no sequence has followed"
    return walk.followed


def _operation(case: schemathesis.Case) -> str:
    return case.operation.definition.raw["operationId"]
