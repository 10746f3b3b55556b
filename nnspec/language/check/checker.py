"""One pass over a spec: every statement is checked, every error reported, and the Problem put together."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nnspec.errors import Diagnostic, Label, Source, Span
from nnspec.language import syntax as sx
from nnspec.language.check import scope
from nnspec.language.check.claims import check_claims
from nnspec.language.check.comprehension import annotated, bindings
from nnspec.language.check.context import CheckError, Context, fail
from nnspec.language.check.evaluate import evaluate, numeric
from nnspec.language.check.logic import expected_logical
from nnspec.language.check.losses import LOSSES
from nnspec.language.check.parameters import check_arguments
from nnspec.language.check.reporting import reported
from nnspec.language.check.scaling import scaled_networks
from nnspec.language.check.symmetry import check_breaks
from nnspec.language.check.trees import walk
from nnspec.language.check.values import Row, Value, is_logical, is_number
from nnspec.language.sources import FileReader
from nnspec.problem import expression as ex
from nnspec.problem.problem import Constraint, Objective, Problem


@dataclass(frozen=True)
class CheckResult:
    """What a check found: the problem (None if there are errors), and all errors and warnings."""

    problem: Problem | None
    diagnostics: tuple[Diagnostic, ...]

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.diagnostics if d.severity == "error")

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.diagnostics if d.severity == "warning")


def check_spec(spec: sx.Spec, arguments: Mapping[str, object], root: Path, broken: bool = False) -> CheckResult:
    """Check a spec whose includes are loaded. `root` is the folder its files must lie in.

    `broken` says that some statements could not be read: then nothing is said about what may only seem to be missing.
    """
    ctx = Context(FileReader(root), root, arguments, broken)
    try:
        problem = _check(ctx, spec)
    except RecursionError:
        ctx.report(
            Diagnostic(
                "NNS028",
                "this spec is nested too deeply",
                (Label(Span(spec.source, 0, 0)),),
                "break long definitions into several",
            )
        )
        problem = None
    failed = broken or any(d.severity == "error" for d in ctx.diagnostics)
    found = sorted(ctx.diagnostics, key=_place(spec))
    return CheckResult(None if failed else problem, tuple(found))


def _place(spec: sx.Spec) -> Callable[[Diagnostic], tuple[int, int]]:
    """The order of diagnostics: those without a place, then file by file from top to bottom."""
    files = {source.name: k for k, source in enumerate(_sources(spec))}

    def place(d: Diagnostic) -> tuple[int, int]:
        return (files.get(d.labels[0].span.source.name, 0), d.labels[0].span.start) if d.labels else (-1, 0)

    return place


def _check(ctx: Context, spec: sx.Spec) -> Problem:
    scope.declare(ctx, spec.statements)
    if not ctx.broken:
        check_arguments(ctx)
    ctx.likely_data = _likely_data(spec)
    for definition in scope.in_order(ctx):
        with reported(ctx):
            scope.resolve(ctx, definition)
    objective = _objective(ctx, spec)
    _constraints(ctx, spec)
    networks = scaled_networks(ctx)
    breaks = check_breaks(ctx, spec, objective)
    claims = check_claims(ctx, spec, networks)
    if not ctx.broken and not any(d.severity == "error" for d in ctx.diagnostics):
        _unused(ctx, spec.source)
    return Problem(
        name=Path(spec.source.name).stem if not spec.source.name.startswith("<") else "spec",
        networks=networks,
        data={name: info.data for name, info in ctx.data.items()},
        variables=ctx.variables,
        objective=objective,
        constraints=tuple(ctx.constraints),
        break_symmetry=breaks,
        symmetry_claims=claims,
        arguments=ctx.parameters,
        sources=_sources(spec),
        hashes=_hashes(ctx, spec),
    )


def _likely_data(spec: sx.Spec) -> dict[str, list[str]]:
    """Which data sets the text uses each network with: by loss(f, D), or by f(x) for (x, y) in D."""
    found: dict[str, list[str]] = {}
    for node in walk(spec.statements):
        if isinstance(node, sx.Call) and node.function.span.text in LOSSES and len(node.args) == 2:
            network, data = node.args
            if isinstance(network, sx.Name) and isinstance(data, sx.Name):
                found.setdefault(network.name, []).append(data.name)
        if isinstance(node, sx.Comprehension | sx.Constraint):
            for generator in node.generators:
                if isinstance(generator.domain, sx.Name) and len(generator.names) == 2:
                    for inner in walk(node):
                        if (
                            isinstance(inner, sx.Call)
                            and isinstance(inner.function, sx.Name)
                            and any(isinstance(a, sx.Name) and a.name == generator.names[0].name for a in inner.args)
                        ):
                            found.setdefault(inner.function.name, []).append(generator.domain.name)
    return found


def _objective(ctx: Context, spec: sx.Spec) -> Objective:
    statements = [s for s in spec.statements if isinstance(s, sx.Objective)]
    if not statements:
        if not ctx.broken:
            end = len(spec.source.text.rstrip())
            ctx.report(
                Diagnostic(
                    "NNS023",
                    "the spec says nothing to minimize or maximize",
                    (Label(Span(spec.source, max(0, end - 1), end)),),
                    "add minimize ..., or satisfy if any solution will do",
                )
            )
        return Objective("satisfy", None)
    first = statements[0]
    for other in statements[1:]:
        ctx.report(
            Diagnostic(
                "NNS023",
                "a spec has one objective",
                (Label(other.span, "another one"), Label(first.span, "the first")),
                "add them up with weights, or make one of them a constraint",
            )
        )
    expression = None
    for statement in statements:
        with reported(ctx):
            if statement.expression is not None:
                value = numeric(ctx, statement.expression, {})
                if statement is first:
                    expression = value
    label = first.label.name if first.label is not None else ""
    return Objective(first.sense, expression, label, first.span)


def _constraints(ctx: Context, spec: sx.Spec) -> None:
    labels: dict[str, sx.Name] = {}
    for statement in spec.statements:
        if isinstance(statement, sx.Objective | sx.Constraint) and statement.label is not None:
            name = statement.label
            if name.name in labels:
                ctx.report(
                    Diagnostic(
                        "NNS021",
                        f"two statements are labelled {name.name}",
                        (Label(name.span, "again here"), Label(labels[name.name].span, "first here")),
                        "give one of them another label",
                    )
                )
            labels[name.name] = name
        if isinstance(statement, sx.Constraint):
            with reported(ctx):
                _constraint(ctx, statement)


def _constraint(ctx: Context, statement: sx.Constraint) -> None:
    label = statement.label.name if statement.label is not None else ""
    if not statement.generators:
        _add(ctx, evaluate(ctx, statement.expression, {}), label, statement)
        return
    for bound in bindings(ctx, statement.generators, statement.condition, {}):
        try:
            value = evaluate(ctx, statement.expression, bound)
        except CheckError as error:
            raise annotated(ctx, error, statement.generators, bound) from None
        key = ",".join(_index(bound[n.name]) for g in statement.generators for n in g.names if _index(bound[n.name]))
        _add(ctx, value, f"{label}[{key}]" if label else "", statement)


def _index(value: Value) -> str:
    if isinstance(value, Row):
        return str(value.index)
    return f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, int | str) else ""


def _add(ctx: Context, value: Value, label: str, statement: sx.Constraint) -> None:
    if not is_logical(value):
        if is_number(value) or isinstance(value, ex.Expression):
            fail(
                "NNS034",
                "a constraint compares something, but this is only a number",
                statement.expression.span,
                help="write ... <= 0, ... == 0 or ... >= 0",
            )
        expected_logical(value, statement.expression.span)
    if value is True:
        return
    if value is False:
        ctx.warn("NNS056", "this constraint never holds: the problem has no solution", statement.expression.span)
        value = ex.Comparison("<=", ex.Constant(1.0), ex.Constant(0.0), span=statement.expression.span)
    assert isinstance(value, ex.Expression)
    parts = value.parts if isinstance(value, ex.And) else (value,)
    ctx.count(len(parts), statement.span)
    ctx.constraints.extend(Constraint(part, label, statement.span) for part in parts)


def _unused(ctx: Context, main: Source) -> None:
    """Warn about names of the main file that nothing uses; of a split, one part may stay unused."""
    used = {id(d.statement) for d in ctx.definitions.values() if d.used}
    for d in ctx.definitions.values():
        if d.used or d.span.source is not main or (isinstance(d.statement, sx.Data) and id(d.statement) in used):
            continue
        ctx.warn("NNS022", f"the {d.kind} {d.name} is never used", d.span)


def _sources(spec: sx.Spec) -> tuple[Source, ...]:
    found = {id(spec.source): spec.source}
    for statement in spec.statements:
        found.setdefault(id(statement.span.source), statement.span.source)
    return tuple(found.values())


def _hashes(ctx: Context, spec: sx.Spec) -> dict[str, str]:
    """sha256 of the bytes of all spec and data files, named relative to the folder of the spec."""
    hashes = {}
    for source in _sources(spec):
        name, content = source.name, source.text.encode("utf-8", "surrogatepass")
        if not name.startswith("<"):
            with contextlib.suppress(OSError):  # gone since it was read: the text is all there is
                content = Path(name).read_bytes()
            name = os.path.relpath(Path(name).absolute(), ctx.reader.reach)
        hashes[name] = hashlib.sha256(content).hexdigest()
    return {**hashes, **ctx.reader.hashes}
