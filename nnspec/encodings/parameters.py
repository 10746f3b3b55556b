"""Weights and biases as columns: one a free entry, with its domain exact; ties are substituted, not added as rows.

A real entry is a real column, an integer one an int column (a binary one if its range has two values). An entry from a
finite set is an affine function of a binary (two values) or of an int column (equally spaced values), otherwise
w = sum v_j b_j with exactly one b_j = 1. An entry whose bounds meet is a constant.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nnspec.encodings.context import Context
from nnspec.encodings.products import select
from nnspec.errors import SpecError, diagnostic
from nnspec.problem.network import Parameter
from nnspec.problem.problem import Problem
from nnspec.program import Affine
from nnspec.program.affine import concatenate

Entry = tuple[str, int]


@dataclass
class _Domain:
    lo: float
    hi: float
    kind: str
    values: tuple[float, ...]

    def meet(self, other: _Domain) -> _Domain:
        lo, hi = max(self.lo, other.lo), min(self.hi, other.hi)
        kind = "set" if "set" in (self.kind, other.kind) else "int" if "int" in (self.kind, other.kind) else "real"
        sets = [set(d.values) for d in (self, other) if d.kind == "set"]
        values = sorted(v for v in set.intersection(*sets) if lo <= v <= hi) if sets else []
        if "int" in (self.kind, other.kind):
            values = [v for v in values if v == round(v)]
        return _Domain(lo, hi, kind, tuple(values))

    def signed(self, sign: float) -> _Domain:
        if sign > 0:
            return self
        return _Domain(-self.hi, -self.lo, self.kind, tuple(sorted(-v for v in self.values)))

    @property
    def finite_values(self) -> tuple[float, ...] | None:
        """All values in ascending order, for sets; None for intervals and ranges of integers."""
        return self.values if self.kind == "set" else None


@dataclass(eq=False)
class Parameters:
    """The entries of all free tensors as expressions; entry = offset + factor * column where it has a column."""

    expressions: dict[str, Affine] = field(default_factory=dict)
    tensors: dict[str, Parameter] = field(default_factory=dict)
    # columns that a value of an entry determines: entry -> (column, offset, factor)
    columns: dict[Entry, tuple[int, float, float]] = field(default_factory=dict)

    def expression(self, p: Parameter) -> Affine:
        """A tensor as an array of expressions, constants if it is fixed."""
        if p.value is not None:
            return Affine.of(np.asarray(p.value, dtype=float).reshape(p.shape))
        return self.expressions[p.name]


def _representatives(problem: Problem) -> dict[Entry, tuple[Entry, float]]:
    """For each tied entry, the entry that it equals up to a sign (0 where it must equal its own negative)."""
    parent: dict[Entry, tuple[Entry, float]] = {}

    def find(e: Entry) -> tuple[Entry, float]:
        sign = 1.0
        while e in parent:
            e, s = parent[e]
            sign *= s
        return e, sign

    zero: set[Entry] = set()
    for tie in problem.ties:
        (a, sa), (b, sb) = find(tie.target), find(tie.source)
        relation = sa * tie.sign * sb  # a = relation * b
        if a == b:
            if relation < 0:
                zero.add(a)
        else:
            parent[a] = (b, relation)
            if a in zero:
                zero.add(b)
    result = {}
    for e in list(parent):
        root, sign = find(e)
        result[e] = (root, 0.0 if root in zero else sign)
    for e in zero:
        root, _ = find(e)
        result[e] = result[root] = (root, 0.0)
    for e in parent:
        root, sign = result[e]
        if root in zero:
            result[e] = (root, 0.0)
    return result


def add_parameters(context: Context) -> Parameters:
    """Create the columns of all free tensors."""
    problem = context.problem
    found = Parameters()
    tied = _representatives(problem)
    followers: dict[Entry, list[tuple[Entry, float]]] = {}
    for e, (root, sign) in tied.items():
        followers.setdefault(root, []).append((e, sign))
    free = {p.name: p for p in problem.free_parameters()}
    for p in free.values():
        found.tensors[p.name] = p
        found.expressions[p.name] = _columns_of(context, found, p, tied, followers, free)
    _substitute_ties(found, tied)
    return found


def _domain(p: Parameter, k: int) -> _Domain:
    lo, hi = float(p.lo.reshape(-1)[k]), float(p.hi.reshape(-1)[k])
    if p.kind == "int":
        lo, hi = float(np.ceil(lo)), float(np.floor(hi))
    values = tuple(v for v in p.values if lo <= v <= hi) if p.kind == "set" else ()
    return _Domain(lo, hi, p.kind, values)


def _columns_of(context: Context, found: Parameters, p: Parameter, tied: dict[Entry, tuple[Entry, float]],
                followers: dict[Entry, list[tuple[Entry, float]]], free: dict[str, Parameter]) -> Affine:  # fmt: skip
    """The tensor's own columns; entries that follow another are left at 0 for `_substitute_ties`."""
    domains: list[_Domain | None] = []
    for k in range(p.size):
        e = (p.name, k)
        d: _Domain | None = _domain(p, k)
        if e in tied and (tied[e][0] != e or tied[e][1] == 0.0):
            d = None
        elif e in followers:
            for (name, j), sign in followers[e]:
                assert d is not None
                d = d.meet(_domain(free[name], j).signed(sign))
        if d is not None and (d.lo > d.hi or (d.kind == "set" and not d.values)):
            raise SpecError(diagnostic("NNS154", f"no value is left for an entry of {p.name}", p.span))
        domains.append(d)
    kinds = np.array(["tied" if d is None else _form(d) for d in domains])
    parts = []
    order = []
    axes = [[str(i) for i in range(n)] for n in p.shape]
    names = [",".join(axes[a][i] for a, i in enumerate(np.unravel_index(k, p.shape))) for k in range(p.size)]
    for form in dict.fromkeys(kinds):
        entries = np.flatnonzero(kinds == form)
        chosen = [domains[k] for k in entries]
        words = [names[k] for k in entries]
        parts.append(_of_form(context, found, p, str(form), entries, chosen, words))  # type: ignore[arg-type]
        order.append(entries)
    back = np.argsort(np.concatenate(order)) if order else np.zeros(0, dtype=int)
    return concatenate(parts)[back].reshape(p.shape) if parts else Affine.of(np.zeros(p.shape))


def _spaced(values: tuple[float, ...]) -> bool:
    steps = np.diff(values)
    return len(values) > 2 and bool(np.all(steps == steps[0]))


def _form(d: _Domain) -> str:
    if d.kind == "set":
        if len(d.values) == 1:
            return "constant"
        return "two" if len(d.values) == 2 else "spaced" if _spaced(d.values) else "listed"
    if d.lo == d.hi:
        return "constant"
    return d.kind if d.kind == "real" else "two" if d.hi - d.lo == 1 else "int"


def _of_form(context: Context, found: Parameters, p: Parameter, form: str, entries: np.ndarray,
             domains: list[_Domain], words: list[str]) -> Affine:  # fmt: skip
    program = context.program
    lo = np.array([d.lo for d in domains] if form != "tied" else np.zeros(len(entries)))
    hi = np.array([d.hi for d in domains] if form != "tied" else np.zeros(len(entries)))
    offset, factor = np.zeros(len(entries)), np.ones(len(entries))
    if form == "tied":
        return Affine.of(np.zeros(len(entries)))
    if form == "constant":
        return Affine.of(np.array([d.values[0] if d.kind == "set" else d.lo for d in domains]))
    if form in ("two", "spaced"):
        first = np.array([d.values[0] if d.kind == "set" else d.lo for d in domains])
        second = np.array([d.values[1] if d.kind == "set" else d.hi for d in domains])
        steps = np.array([max(len(d.values) - 1, 1) for d in domains]) if form == "spaced" else np.ones(len(domains))
        offset, factor = first, second - first
        kind, lo, hi = ("binary" if form == "two" else "int"), np.zeros(len(domains)), steps
    else:
        kind = "int" if form == "int" else "real"
    columns = program.add_variables(p.name, (len(entries),), lo, hi, kind, (words,), p.span)
    result = columns * factor + offset
    for k, c, o, f in zip(entries, columns.columns, offset, factor):
        found.columns[p.name, int(k)] = int(c), float(o), float(f)
    if form == "listed":
        for c, d in zip(columns.columns, domains):
            values = np.array(d.values)
            context.selectors[int(c)] = values, select(context, Affine.variables([c]), values)
    return result


def _substitute_ties(found: Parameters, tied: dict[Entry, tuple[Entry, float]]) -> None:
    """Replace each following entry by +- the entry that it follows."""
    by_tensor: dict[str, dict[int, tuple[Entry, float]]] = {}
    for (name, k), (root, sign) in tied.items():
        if root != (name, k) and sign != 0.0:
            by_tensor.setdefault(name, {})[k] = (root, sign)
    originals = dict(found.expressions)
    for name, entries in by_tensor.items():
        e = originals[name].reshape(-1)
        parts = [e]
        order = np.arange(e.size)
        for j, (k, ((other, index), sign)) in enumerate(entries.items()):
            parts.append(originals[other].reshape(-1)[[index]] * sign)
            order[k] = e.size + j
        found.expressions[name] = concatenate(parts)[order].reshape(found.tensors[name].shape)
