"""The way from a spec to a Problem: read, parse, include, check."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nnspec.errors import SpecError
from nnspec.language.check.checker import CheckResult, check_spec
from nnspec.language.includes import load_includes, read_source, text_source
from nnspec.language.parser import parse
from nnspec.problem.problem import Problem


def check(path_or_text: str | os.PathLike[str], arguments: Mapping[str, object] | None = None) -> CheckResult:
    """Check a spec and report everything that is wrong with it in one pass.

    `path_or_text` is a path, or the text of a spec (a str with a line break, or one that is not the name of a file and
    contains a blank); files that a text names are looked for in the working directory. `arguments` are values for the
    spec's parameters; texts, as from a command line, are read by the parameter's type.
    """
    try:
        if is_text(path_or_text):
            source, root = text_source(str(path_or_text)), Path.cwd()
        else:
            source, root = read_source(path_or_text), Path(path_or_text).absolute().parent
    except SpecError as error:
        return CheckResult(None, error.diagnostics)
    spec, syntax_errors = parse(source)
    spec, include_errors = load_includes(spec, root)
    before = (*syntax_errors, *include_errors)
    result = check_spec(spec, arguments or {}, root, broken=bool(before))
    return CheckResult(result.problem, (*before, *result.diagnostics))


def load_problem(path_or_text: str | os.PathLike[str], arguments: Mapping[str, object] | None = None) -> Problem:
    """The Problem that a spec states. Raises SpecError with all errors of the spec, its data and its parameters."""
    result = check(path_or_text, arguments)
    if result.problem is None:
        raise SpecError(result.errors)
    return result.problem


def is_text(path_or_text: str | os.PathLike[str]) -> bool:
    """Whether this is the text of a spec and not the path of one."""
    if not isinstance(path_or_text, str):
        return False
    if "\n" in path_or_text:
        return True
    return (
        not path_or_text.endswith(".nns")
        and not os.path.exists(path_or_text)
        and (" " in path_or_text or not path_or_text)
    )
