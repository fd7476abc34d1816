"""References within a schema, followed by hand: only ``#`` and ``#/…``, which is what schemas are written with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast


def resolved(reference: str, root: object) -> object:
    """What ``#`` or ``#/…`` refers to in `root`; None for everything else."""
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        return None
    target = root
    for part in reference[2:].split("/"):
        key = part.replace("%25", "%").replace("~1", "/").replace("~0", "~")
        if isinstance(target, Mapping) and key in target:
            target = cast("Mapping[str, object]", target)[key]
        elif isinstance(target, list) and key.isdecimal() and int(key) < len(cast("Sequence[object]", target)):
            target = cast("list[object]", target)[int(key)]
        else:
            return None
    return target
