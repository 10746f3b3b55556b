"""nnspec: train small neural networks to proven global optimality, from a declarative spec.

    import nnspec
    solution = nnspec.solve("xor.nns")
    solution.status, solution.objective, solution.bound
    solution.network("f").predict([[0, 1]])
    solution.network("f").save("f.onnx")

Everything is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnspec.api import check, compile, load, solve
    from nnspec.embedding import embed
    from nnspec.encodings.registry import encoding
    from nnspec.engines.interface import Limits, Outcome, Progress, Status
    from nnspec.errors import Diagnostic, MissingPackageError, NnspecError, SpecError, UnsupportedError, UsageError
    from nnspec.formats import read_network
    from nnspec.problem import Network, Point, Problem
    from nnspec.solution import Solution, TrainedNetwork

__version__ = "0.1.0"

_HOMES = {
    "nnspec.api": ("check", "compile", "load", "solve"),
    "nnspec.embedding": ("embed",),
    "nnspec.encodings.registry": ("encoding",),
    "nnspec.engines.interface": ("Limits", "Outcome", "Progress", "Status"),
    "nnspec.errors": (
        "Diagnostic", "MissingPackageError", "NnspecError", "SpecError", "UnsupportedError", "UsageError",
    ),
    "nnspec.formats": ("read_network",),
    "nnspec.problem": ("Network", "Point", "Problem"),
    "nnspec.solution": ("Solution", "TrainedNetwork"),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Diagnostic", "Limits", "MissingPackageError", "Network", "NnspecError", "Outcome", "Point", "Problem", "Progress",
    "Solution", "SpecError", "Status", "TrainedNetwork", "UnsupportedError", "UsageError", "check", "compile", "embed",
    "encoding", "load", "read_network", "solve",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'nnspec' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
