"""Programs as files: .cip .lp .mps through SCIP, .nl .gms .bar .py through Pyomo.

Each format declares the rows it carries; what it lacks is bridged, and what cannot be bridged is refused with the row
and its place. That matters: SCIP's own writers drop nonlinear rows from .lp and .mps or crash on them, and drop
indicator and SOS rows from .nl. Names keep the user's words, with the characters that the formats forbid replaced:
f.h1.weights[0,1] becomes f.h1.weights(0,1).
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nnspec.backends.bridges import bridge
from nnspec.backends.common import missing_package
from nnspec.backends.interface import Takes
from nnspec.backends.pyomo import EVERYTHING
from nnspec.backends.pyomo_source import source
from nnspec.backends.scip import ScipBackend
from nnspec.errors import UsageError, diagnostic
from nnspec.program import Program

_LP = Takes(frozenset({"linear", "quadratic", "indicator", "sos1", "sos2"}))
FORMATS: dict[str, Takes] = {
    "cip": ScipBackend.takes, "lp": _LP, "mps": _LP, "nl": EVERYTHING, "gms": EVERYTHING, "bar": EVERYTHING,
    "py": EVERYTHING,
}  # fmt: skip
"""What each format carries. Quadratic objectives become an epigraph row in .lp and .mps, as in SCIP."""

LONGEST_NAME = 200  # LP readers take 255 characters; SCIP adds suffixes of its own


def write(program: Program, path: str | Path) -> list[Path]:
    """Write a program in the format that the path's ending names; the files written (.nl brings .col and .row).

    Raises UsageError for other endings, UnsupportedError where the format cannot carry a row, OSError as usual.
    """
    path = Path(path)
    ending = path.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        known = ", ".join(f".{e}" for e in FORMATS)
        raise UsageError(diagnostic("NNS165", f"unknown format of a program file: {path.name}", help=f"known: {known}"))
    bridged = bridge(program, FORMATS[ending], f"the format .{ending}").program
    path.parent.mkdir(parents=True, exist_ok=True)
    if ending == "py":
        path.write_text(source(bridged), encoding="utf-8")
        return [path]
    if ending in ("nl", "gms", "bar"):
        return _write_pyomo(bridged, path, ending)
    _write_scip(bridged, path)
    return [path]


def _write_scip(program: Program, path: Path) -> None:
    from nnspec.backends.scip_model import build

    model, _ = build(program, Names())
    with _quiet():
        model.writeProblem(str(path), trans=False, verbose=False)


def _write_pyomo(program: Program, path: Path, ending: str) -> list[Path]:
    from nnspec.backends.pyomo_model import build

    try:
        import pyomo.environ  # noqa: F401  (registers the writers)
    except ImportError as e:
        raise missing_package(f"the format .{ending}", "Pyomo", "pip install pyomo", e) from e
    model, _ = build(program)
    options: dict[str, Any] = {"symbolic_solver_labels": True}
    if ending == "gms":
        options = {"labeler": _labeler()}
    model.write(str(path), format={"nl": "nl", "gms": "gams", "bar": "bar"}[ending], io_options=options)
    companions = [path.with_suffix(s) for s in (".col", ".row")] if ending == "nl" else []
    return [path, *(c for c in companions if c.exists())]


def _labeler() -> Any:
    """GAMS names have at most 63 characters: a letter, then letters, digits and underscores, in no particular case."""
    from pyomo.core.base.label import AlphaNumericTextLabeler, ShortNameLabeler

    return ShortNameLabeler(60, "_", 0, AlphaNumericTextLabeler(), "v_", True, _GAMS_NAME)


_NO_NAME = re.compile(
    r"[0-9.(),#]|[eE][0-9+-]|(inf|infinity|free|st|s\.t\.|subject|bounds?|generals?|binar(y|ies)|sos|end)$", re.I
)


_GAMS_NAME = re.compile(
    r"(?!(abort|acronyms?|alias|all|and|assign|binary|card|diag|display|else|eps|eq|equations?|file|files|for|free|ge|gt|"
    r"if|inf|integer|le|loop|lt|maximizing|minimizing|models?|na|ne|negative|no|not|option|options|or|ord|parameters?|"
    r"positive|prod|put|repeat|sameas|scalars?|semicont|semiint|sets?|smax|smin|solve|sos1|sos2|sum|system|tables?|then|"
    r"undf|until|using|variables?|while|xor|yes|gams_model|gams_objective|modelstat|solvestat|obj(est|val)|num(d?var|equ|nz)|etsolve|tmp)$)[a-z]",
    re.IGNORECASE,
)
"""Names that are none of GAMS's words and none of those that Pyomo's writer uses."""


def plain(name: str) -> str:
    """A name of characters that LP, MPS and CIP files allow, and that no reader takes for a number or keyword."""
    name = name.replace("[", "(").replace("]", ")").replace("<=", "le").replace(">=", "ge")
    name = re.sub(r"[^A-Za-z0-9_.(),#]", "_", name)
    return ("_" + name if _NO_NAME.match(name) else name)[:LONGEST_NAME]


class Names:
    """Makes names plain and unique: _2, _3 ... behind repetitions, also across calls."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def __call__(self, names: Iterable[str]) -> Iterator[str]:
        for name in map(plain, names):
            candidate = name
            while candidate in self.seen:
                self.seen[name] += 1
                candidate = f"{name}_{self.seen[name]}"
            self.seen[candidate] = 1
            yield candidate


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """SCIP's writers print warnings about long names to the terminal."""
    sys.stdout.flush()
    saved = os.dup(1)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
