"""YAML with line numbers. Imported only when a YAML file is read: PyYAML is an extra."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# The stubs of PyYAML leave what it parses untyped.

from __future__ import annotations

from collections.abc import Mapping

import yaml

from dragoman.config.keys import Key
from dragoman.config.problems import ConfigurationError


def parse(text: str, name: str) -> tuple[object, Mapping[Key, int]]:
    """The value a YAML text holds (an empty one holds an empty table), and the lines of its keys.

    Raises:
        ConfigurationError: it is not valid YAML, or holds an alias or more than one document.
    """
    try:
        _refuse_aliases(text)
        lines: dict[Key, int] = {}
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return {}, lines
        _note(node, (), lines)
        return yaml.safe_load(text), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise ConfigurationError([f"{place}: is not valid YAML: {error.problem or error.context}"]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError([f"{name}: is not valid YAML: {error}"]) from None


def _refuse_aliases(text: str) -> None:
    """A page of aliases can unfold to more than any memory holds."""
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases are not read; write the value out", problem_mark=event.start_mark
            )


def _note(node: yaml.Node, key: Key, lines: dict[Key, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            inner = (*key, str(name.value))
            lines[inner] = name.start_mark.line + 1
            _note(value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            inner = (*key, place)
            lines[inner] = value.start_mark.line + 1
            _note(value, inner, lines)
