"""Options that commands share, and what they mean."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nnspec.errors import Diagnostic, SpecError, UsageError

if TYPE_CHECKING:
    from nnspec.problem.problem import Problem
    from nnspec.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])


def parameters(command: Command) -> Command:
    """-D and --params."""
    command = click.option("--params", type=click.Path(), metavar="FILE", help="JSON file with parameters.")(command)
    return click.option("-D", "definitions", multiple=True, metavar="NAME=VALUE", help="Value of a parameter.")(command)


def solving(command: Command) -> Command:
    """Options about how to solve; each overrides the nnspec.toml beside the spec."""
    for decorate in reversed((
        click.option("--engine", metavar="NAME", help="auto (default), solver, cells or boxes."),
        click.option("--backend", metavar="NAME",
                     help="scip, highs, gurobi, cpsat or pyomo:SOLVER; see nnspec backends."),
        click.option("--encoding", multiple=True, metavar="WHAT=NAME", help="Template: relu=sos1, f.h=indicator."),
        click.option("--time-limit", type=float, metavar="SECONDS", help="Stop after this time."),
        click.option("--gap", type=float, metavar="RATIO", help="Relative gap that counts as proven (1e-6)."),
        click.option("--node-limit", type=int, metavar="N", help="Stop after so many nodes."),
        click.option("--memory-limit", type=float, metavar="MB", help="Stop at this much memory."),
        click.option("--threads", type=int, metavar="N", help="Cores to use; 0 for all (default)."),
        click.option("--seed", type=int, metavar="N", help="Seed of everything random (0)."),
    )):  # fmt: skip
        command = decorate(command)
    return command


def json_flag(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def arguments(definitions: tuple[str, ...], params: str | None) -> dict[str, object]:
    """Values of parameters: those of the file, overridden by -D. Texts are read by the parameter's type later."""
    found: dict[str, object] = {}
    if params is not None:
        try:
            content = json.loads(Path(params).read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise usage(f"cannot read {params!r}: {error.strerror}") from None
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise usage(f"{params!r} is not JSON: {error}") from None
        if not isinstance(content, dict):
            raise usage(f"{params!r} must hold one JSON object with the names and values of parameters")
        found.update(content)
    found.update(pairs(definitions, "-D", "NAME=VALUE"))
    return found


def pairs(texts: tuple[str, ...], option: str, form: str) -> dict[str, str]:
    """'a=b' texts as a dictionary."""
    found = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.strip():
            raise usage(f"{option} takes {form}, not {text!r}")
        found[name.strip()] = value.strip()
    return found


def settings(spec: str, given: Mapping[str, Any]) -> Settings:
    """Settings of the nnspec.toml beside the spec, overridden by the flags that were given."""
    from nnspec.settings import read_settings

    folder = Path.cwd() if spec == "-" else Path(spec).parent
    chosen = {k: v for k, v in given.items() if v is not None}
    chosen["encoding"] = pairs(given.get("encoding") or (), "--encoding", "WHAT=NAME, like relu=sos1")
    return read_settings(folder).updated(chosen)


def text_of(spec: str) -> str | Path:
    """What to give to the language: a path, or the text that stands on stdin for '-'."""
    if spec != "-":
        return Path(spec)
    content = sys.stdin.buffer.read()
    try:
        return content.decode("utf-8-sig") + "\n"
    except UnicodeDecodeError:
        raise usage("what came on stdin is not UTF-8 text") from None


def load(spec: str, definitions: tuple[str, ...], params: str | None) -> Problem:
    """The problem of a spec; warnings go to stderr. Raises SpecError."""
    from nnspec.language.load import check
    from nnspec.language.render import render, wants_color

    result = check(text_of(spec), arguments(definitions, params))
    if result.problem is None:
        raise SpecError(result.errors)
    if result.warnings:
        click.echo(render(result.warnings, wants_color(sys.stderr)), err=True, color=True)
    return result.problem


def usage(message: str, help: str | None = None) -> UsageError:
    return UsageError(Diagnostic("NNS324", message, help=help))


def echo_json(value: object) -> None:
    """One JSON object on one line of stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))
