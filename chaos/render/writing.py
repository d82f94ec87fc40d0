"""YAML for people: keys in the order given, no anchors, manifests inside manifests as blocks."""

from typing import Any

import yaml

_WIDTH = 120


class Block(str):
    """Text that is written as it stands, with its lines."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _as_block(dumper: yaml.SafeDumper, text: Block) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")


_Dumper.add_representer(Block, _as_block)


def as_yaml(value: Any) -> str:
    """One YAML document."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True)


def commented(lines: list[str], value: Any) -> str:
    """One YAML document below lines of comment."""
    return "".join(f"# {line}\n" if line else "#\n" for line in lines) + as_yaml(value)
