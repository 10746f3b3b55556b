"""Checks an evidence file of the cells engine: see `proof.statement` for what it proves and how.

Nothing is shared with the engine. Arithmetic is exact.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnspec.engines.cells.proof.exact import EvidenceError
from nnspec.engines.cells.proof.statement import VERSION, Report, check, digest, load

if TYPE_CHECKING:
    from nnspec.problem.problem import Problem


def verify(path: str | Path, problem: Problem | None = None) -> Report:
    """Check the file; with `problem` also that it is about it. Raises EvidenceError with what is wrong first."""
    report = check(load(path))
    return report if problem is None else replace(report, notes=about(path, problem))


def about(path: str | Path, problem: Problem) -> tuple[str, ...]:
    """Notes on the comparison of the file's problem with this one. Raises EvidenceError if it is another one."""
    from nnspec.engines.cells.proof.spec import compare

    return compare(load(path), problem)


__all__ = ["VERSION", "EvidenceError", "Report", "about", "digest", "verify"]
