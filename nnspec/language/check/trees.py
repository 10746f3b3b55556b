"""Walking through syntax trees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from functools import cache

from nnspec.language import syntax as sx


@cache
def _parts(kind: type[sx.Node]) -> tuple[str, ...]:
    return tuple(f.name for f in reversed(fields(kind)) if f.name != "span")


def walk(node: object) -> Iterator[sx.Node]:
    """A node of the syntax tree and all below it."""
    stack = [node]
    while stack:
        top = stack.pop()
        if isinstance(top, tuple):
            stack.extend(reversed(top))
        elif isinstance(top, sx.Node):
            yield top
            stack.extend([getattr(top, name) for name in _parts(type(top))])  # type: ignore[arg-type]


def mentions(node: sx.Node, names: set[str]) -> bool:
    """Whether one of the names is used somewhere in the node."""
    return bool(names) and any(isinstance(n, sx.Name) and n.name in names for n in walk(node))
