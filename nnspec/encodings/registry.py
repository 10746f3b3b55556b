"""The registry of encoding templates: (kind, name) -> how a piece of a network becomes rows of a Program.

Kinds are the words of the language: an activation ("relu"), "maxpool", "l0", "logic", or a loss ("sse"). A template
declares what it needs: row kinds of the Program that only some solvers take ("indicator", "sos1", "sos2", "product",
"univariate", "quadratic", "cone") and "bounds", meaning finite bounds on what it is applied to. The encoder checks the
declaration, so that a template is never called without the bounds it needs and never has to invent a big-M.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from nnspec.errors import UsageError, diagnostic

Function = TypeVar("Function", bound=Callable[..., Any])

NEEDS = ("bounds", "indicator", "sos1", "sos2", "product", "univariate", "quadratic", "cone")


@dataclass(frozen=True)
class Template:
    """One way to encode one kind of thing."""

    kind: str
    name: str
    encode: Callable[..., Any]
    needs: frozenset[str] = frozenset()

    @property
    def summary(self) -> str:
        """First paragraph of the template's docstring: the mathematics in a line."""
        return (inspect.getdoc(self.encode) or "").split("\n\n")[0]


_TEMPLATES: dict[tuple[str, str], Template] = {}


def encoding(kind: str | Iterable[str], name: str, needs: Iterable[str] = ()) -> Callable[[Function], Function]:
    """Register a function as the template `name` of one or several kinds.

    An activation template is called with a `nnspec.encodings.context.Block` and returns an Affine of the block's
    size whose values are the activation of `block.z`. `needs` is a subset of `NEEDS`.

        @nnspec.encoding("relu", "mine", needs={"bounds"})
        def relu_mine(block): ...
    """
    wanted = frozenset(needs)
    if wanted - set(NEEDS):
        raise UsageError(diagnostic("NNS152", f"unknown needs {sorted(wanted - set(NEEDS))} of encoding {name}",
                                    help=f"choose from {', '.join(NEEDS)}"))  # fmt: skip

    def register(function: Function) -> Function:
        for k in (kind,) if isinstance(kind, str) else kind:
            _TEMPLATES[k, name] = Template(k, name, function, wanted)
        return function

    return register


def forget(kind: str, name: str) -> None:
    """Remove a template (one that was registered for a test)."""
    _TEMPLATES.pop((kind, name), None)


def kinds() -> tuple[str, ...]:
    """Everything that has templates."""
    return tuple(dict.fromkeys(k for k, _ in _TEMPLATES))


def names(kind: str) -> tuple[str, ...]:
    """The templates of a kind, in order of registration."""
    return tuple(n for k, n in _TEMPLATES if k == kind)


def template(kind: str, name: str) -> Template:
    """The template, or a UsageError that lists what there is."""
    if (kind, name) not in _TEMPLATES:
        known = names(kind)
        close = difflib.get_close_matches(name, known, 1) if known else difflib.get_close_matches(kind, kinds(), 1)
        what = f"encoding {name!r} for {kind}" if known else f"encodings for {kind!r}"
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(diagnostic("NNS152", f"there is no {what}",
                                    help=hint + f"there are: {', '.join(known or kinds())}"))  # fmt: skip
    return _TEMPLATES[kind, name]


def templates() -> tuple[Template, ...]:
    return tuple(_TEMPLATES.values())
