"""Fills the template `envoy.yaml` in: `python -m infra.envoy.render compose` writes the configuration to stdout."""

import functools
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.envoy import replies
from infra.envoy.topology import Topology, compose, socket_address
from infra.mesh import faults
from infra.mesh.traffic import Traffic, load

TEMPLATE = Path(__file__).with_name("envoy.yaml")
_PLACE = re.compile(r"\$\{([^}]+)\}")
_MERGE = "+"


class TemplateError(Exception):
    """The template names what does not exist."""


def render(topology: Topology, traffic: Traffic | None = None) -> str:
    """The configuration for one place, as YAML.

    Raises:
        TemplateError: a placeholder has no value.
    """
    return yaml.dump(configuration(topology, traffic or load()), Dumper=_Plain, sort_keys=False, width=120)


def configuration(topology: Topology, traffic: Traffic) -> dict[str, Any]:
    """The same as mappings and lists."""
    filled: dict[str, Any] = fill(_template(), values(topology, traffic))
    return filled


@functools.cache
def _template() -> dict[str, Any]:
    template: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    return {key: part for key, part in template.items() if key != "shared"}


def values(topology: Topology, traffic: Traffic) -> dict[str, Any]:
    """What the placeholders stand for."""
    numbers = traffic.model_dump(mode="json")
    numbers["retries"]["retry_on"] = ",".join(traffic.retries.retry_on)
    routes = [faults.Route(service, path) for service, path in traffic.routes()]
    return numbers | {
        "node": topology.node,
        "listen": {name: socket_address(*where) for name, where in topology.listen.items()},
        "replicas": topology.replicas,
        "admin": {"pipe": {"path": str(topology.admin), "mode": 0o600}},
        "faults": faults.filters(routes),
        "problems": replies.problems(),
        "access_log": replies.access_log(topology.node),
    }


def fill(part: Any, known: Mapping[str, Any]) -> Any:
    """A part of the template with its placeholders filled in."""
    if isinstance(part, Mapping):
        filled: dict[str, Any] = {}
        for key, value in part.items():
            if key == _MERGE:
                filled |= fill(value, known)
            else:
                filled[key] = fill(value, known)
        return filled
    if isinstance(part, list):
        return [fill(each, known) for each in part]
    if isinstance(part, str):
        return _fill_text(part, known)
    return part


def _fill_text(text: str, known: Mapping[str, Any]) -> Any:
    whole = _PLACE.fullmatch(text)
    if whole:
        return _look_up(whole[1], known)
    return _PLACE.sub(lambda found: str(_look_up(found[1], known)), text)


def _look_up(name: str, known: Mapping[str, Any]) -> Any:
    value: Any = known
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise TemplateError(f"{TEMPLATE.name}: nothing is called {name}")
        value = value[part]
    return value


class _Plain(yaml.SafeDumper):
    """Writes every value out: a reader of the result should not have to look for anchors."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def main(arguments: list[str]) -> int:
    """Write one configuration to stdout."""
    if arguments != ["compose"]:
        sys.stderr.write("usage: python -m infra.envoy.render compose\n")
        return 2
    sys.stdout.write(render(compose()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
