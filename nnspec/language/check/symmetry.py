"""break symmetry, assume and enforce: accepted where they are sound, refused with the reason where not."""

from __future__ import annotations

from nnspec.language import syntax as sx
from nnspec.language.check.context import Context
from nnspec.problem.problem import BreakSymmetry, Objective, SymmetryClaim


def check_symmetry(
    ctx: Context, spec: sx.Spec, objective: Objective
) -> tuple[tuple[SymmetryClaim, ...], tuple[BreakSymmetry, ...]]:
    return (), ()
