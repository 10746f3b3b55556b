"""The public functions: load, check, compile, solve."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnspec.problem.problem import Problem

if TYPE_CHECKING:
    from nnspec.engines.interface import OnProgress
    from nnspec.language.load import CheckResult
    from nnspec.program import Program
    from nnspec.solution import Solution

Spec = str | os.PathLike[str] | Problem


def load(path_or_text: str | os.PathLike[str], **params: object) -> Problem:
    """The problem that a spec states: `nnspec.load("house.nns", tol=0.1)`.

    A string with a line break (or blanks, and no such file) is the text of a spec, anything else a path. `params` are
    values of the spec's parameters. Raises SpecError with everything that is wrong with the spec and its data.
    """
    from nnspec.language.load import load_problem

    return load_problem(path_or_text, params)


def check(path_or_text: str | os.PathLike[str], **params: object) -> CheckResult:
    """Check a spec without raising: `.diagnostics` (`.errors`, `.warnings`) and `.problem` (None after errors)."""
    from nnspec.language.load import check as check_spec

    return check_spec(path_or_text, params)


def compile(spec: Spec, output: str | os.PathLike[str] | None = None, *, params: Mapping[str, object] | None = None,
            encoding: Mapping[str, str] | None = None, backend: str = "") -> Program:  # fmt: skip
    """The mathematical program of a spec, and with `output` its file (.cip, .lp, .mps, .nl, .gms or .py).

    `encoding` picks templates by activation or layer ({"relu": "sos1"}); `backend` picks the defaults that suit it.
    Raises SpecError, and UnsupportedError for what no encoding or the format cannot hold.
    """
    from nnspec.encodings.compile import compile_problem
    from nnspec.run import problem_of

    program = compile_problem(problem_of(spec, params), encoding, backend=backend).program
    if output is not None:
        from nnspec.backends.files import write

        write(program, Path(output))
    return program


def solve(spec: Spec, *, params: Mapping[str, object] | None = None, engine: str = "auto", backend: str | None = None,
          encoding: Mapping[str, str] | None = None, time_limit: float | None = None, gap: float | None = None,
          threads: int | None = None, seed: int | None = None, out: str | os.PathLike[str] | None = None,
          force: bool = False, on_progress: OnProgress | None = None) -> Solution:  # fmt: skip
    """Solve a spec (a path, its text, or a Problem) to proven optimality, or to the limits.

    `time_limit` in seconds; `gap` relative; `threads` 0 for all cores; with `out` the networks and solution.json are
    written to this folder (`force`: even over files of others). `on_progress` gets `nnspec.engines.interface.Progress`.
    An nnspec.toml beside the spec is not read. Ctrl-C gives the best solution so far. Raises SpecError,
    UnsupportedError, MissingPackageError and UsageError.
    """
    from nnspec.run import problem_of, run
    from nnspec.settings import Settings
    from nnspec.solution.output import OutputFolder

    given: dict[str, Any] = {"engine": engine, "backend": backend, "encoding": encoding, "time_limit": time_limit,
                             "gap": gap, "threads": threads, "seed": seed}  # fmt: skip
    settings = Settings().updated(given)
    output = None if out is None else OutputFolder(Path(out), force)
    return run(problem_of(spec, params), settings, output, on_progress)
