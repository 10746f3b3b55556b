"""Printing a stage on the way from spec to solver: tree, problem, reduced problem, program."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from nnspec.cli import options
from nnspec.errors import Source, Span, SpecError

if TYPE_CHECKING:
    from nnspec.settings import Settings

SHORT = 12  # arrays of up to so many entries are printed in full


def dump_stage(stage: str, spec: str, definitions: tuple[str, ...], params: str | None, settings: Settings) -> None:
    """Print one stage to stdout."""
    if stage == "tree":
        from nnspec.language.includes import read_source, text_source
        from nnspec.language.parser import parse

        source = text_source(str(options.text_of("-"))) if spec == "-" else read_source(spec)
        tree, errors = parse(source)
        if errors:
            raise SpecError(errors)
        print_value(tree)
        return
    problem = options.load(spec, definitions, params)
    if stage == "problem":
        print_value(problem)
        return
    from nnspec.reductions import reduce

    chain = reduce(problem)
    if stage == "reduced":
        for step in chain.steps:
            click.echo(f"# {step}")
    for case in chain.cases:
        if case.label:
            click.echo(f"# case {case.label}")
        if stage == "reduced":
            print_value(case.problem)
        else:
            from nnspec.encodings.compile import compile_problem

            print_value(compile_problem(case.problem, settings.encoding, backend=settings.backend or "").program)


def print_value(value: Any) -> None:
    for line in lines(value, 0):
        click.echo(line)


def lines(value: Any, depth: int, label: str = "") -> Iterator[str]:
    """A value as indented lines; places in the text and empty fields are left out."""
    indent = "  " * depth
    head = f"{indent}{label}: " if label else indent
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if not f.name.startswith("_")]
        yield from _nested(head, type(value).__name__, parts, depth)
    elif isinstance(value, Mapping):
        yield from _nested(head, "", [(str(k), v) for k, v in value.items()], depth)
    elif isinstance(value, list | tuple) and any(not _plain(v) for v in value):
        yield from _nested(head, "", [("-", v) for v in value], depth)
    elif isinstance(value, np.ndarray):
        text = np.array2string(value, separator=", ", threshold=SHORT).replace("\n", "")
        yield f"{head}{text if value.size <= SHORT else ''} array {'x'.join(map(str, value.shape))}".rstrip()
    elif hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
        parts = [(k, v) for k, v in vars(value).items() if not k.startswith("_")]
        yield from _nested(head, type(value).__name__, parts, depth)
    else:
        yield f"{head}{value!r}" if isinstance(value, str) else f"{head}{value}"


def _nested(head: str, name: str, parts: list[tuple[str, Any]], depth: int) -> Iterator[str]:
    yield f"{head}{name}".rstrip()
    for key, value in parts:
        if value is None or isinstance(value, Span | Source) or callable(value):
            continue
        if isinstance(value, list | tuple | dict) and not value:
            continue
        yield from lines(value, depth + 1, key)


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | None | np.generic)
